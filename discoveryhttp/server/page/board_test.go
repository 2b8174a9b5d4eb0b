package page

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// decoded is an answer as a browser reads it.
type decoded struct {
	Version, Shows     string
	Few, Serving       bool
	Time, Step, Uptime int64
	Store              *struct {
		Kind          string
		File, Written int64
	}
	Memory int64
	Now    map[string]*float64
	Times  []int64
	Series map[string][]*float64
}

func decode(t *testing.T, a Answer) decoded {
	t.Helper()
	var out decoded
	if err := json.Unmarshal(a.Body, &out); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
	return out
}

var start = time.Unix(1_800_000_000, 0)

// at returns a reading after an uptime, of a server with some clusters that has served n calls of
// each method.
func at(uptime time.Duration, clusters int, n uint64) Reading {
	r := Reading{Uptime: uptime, Clusters: clusters, Affiliates: 1234, Endpoints: 2468, Watches: 99, Connections: 1200, Memory: 45_678_901, Stored: 1 << 20}
	for i := range r.Calls {
		r.Calls[i] = n
	}
	for i := range r.Durations {
		for k := range r.Durations[i] {
			if k >= 4 { // all took from 0.4 to 0.8 ms
				r.Durations[i][k] = n
			}
		}
	}
	r.Refusals[Limit] = n / 2
	return r
}

func record(b *Board, r Reading) {
	b.Record(start.Add(r.Uptime), r, Store{Kind: "bolt", Ready: true, File: 123_456, Written: start})
}

func value(t *testing.T, p *float64) float64 {
	t.Helper()
	if p == nil {
		t.Fatal("a value is null")
	}
	return *p
}

func TestRatesAndLatencies(t *testing.T) {
	b := NewBoard(About{Version: "v1", Memory: 1 << 30})
	record(b, at(0, 20, 0))
	record(b, at(10*time.Second, 20, 50))
	got := decode(t, b.Answer(Everything, Hour))
	if len(got.Times) != 2 || got.Times[0] != start.Unix() || got.Times[1] != start.Unix()+10 || got.Time != start.Unix()+10 || got.Uptime != 10 || got.Step != 10 {
		t.Errorf("the times are %+v", got)
	}
	for name, want := range map[string]float64{
		"clusters": 20, "affiliates": 1234, "memory": float64(float32(45_678_901)), "calls.Hello": 5, "calls.Watch": 5, "refusals.limit": 2.5, "refusals.token": 0,
		"p50.List": .6, "p99.List": .796,
	} {
		if v := value(t, got.Now[name]); math.Abs(v-want) > .001*want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
		if series := got.Series[name]; value(t, series[1]) != value(t, got.Now[name]) {
			t.Errorf("%s over time ends with %v", name, *series[1])
		}
	}
	if got.Series["calls.Hello"][0] != nil {
		t.Error("the first reading has a rate")
	}
	if !got.Serving || got.Version != "v1" || got.Store.Kind != "bolt" || got.Store.File != 123_456 || got.Store.Written != start.Unix() || got.Memory != 1<<30 {
		t.Errorf("the server is %+v", got)
	}
	// Ten seconds without a call have rates of zero and no latencies.
	record(b, at(20*time.Second, 20, 50))
	got = decode(t, b.Answer(Everything, Now))
	if value(t, got.Now["calls.Hello"]) != 0 || got.Now["p50.Hello"] != nil || got.Times != nil {
		t.Errorf("without calls: %+v", got)
	}
}

func TestSpansAreBounded(t *testing.T) {
	b := NewBoard(About{})
	const days = 2
	var n uint64
	for up := time.Duration(0); up <= days*24*time.Hour; up += Interval {
		record(b, at(up, 20, n))
		n += 10
	}
	last := start.Add(days * 24 * time.Hour).Unix()
	for span, want := range map[Span]struct{ rows, step int }{Hour: {360, 10}, Day: {288, 300}} {
		got := decode(t, b.Answer(Everything, span))
		if len(got.Times) != want.rows {
			t.Fatalf("span %d has %d times, want %d", span, len(got.Times), want.rows)
		}
		for i, at := range got.Times {
			if at != last-int64((want.rows-1-i)*want.step) {
				t.Fatalf("span %d: time %d is %d before the last", span, i, last-at)
			}
			if v := value(t, got.Series["calls.List"][i]); v != 1 {
				t.Fatalf("span %d: the rate is %v at %d, want 1", span, v, i)
			}
		}
	}
	if rows := cap(b.hour.rows) + cap(b.day.rows); rows > 2*(360+288) {
		t.Errorf("there is room for %d rows", rows)
	}
}

func TestWhatAnAudienceSees(t *testing.T) {
	b := NewBoard(About{Version: "v1", Memory: 1 << 30})
	record(b, at(0, Few-1, 0))
	record(b, at(10*time.Second, Few, 123))
	rounded := decode(t, b.Answer(Rounded, Hour))
	if rounded.Shows != "rounded" || rounded.Few {
		t.Errorf("the public sees %+v", rounded)
	}
	for name, series := range rounded.Series {
		if series[0] != nil {
			t.Errorf("%s of a time with few clusters is shown to the public", name)
		}
	}
	for name, want := range map[string]float64{"affiliates": 1200, "connections": 1200, "watches": 99, "memory": 45_000_000, "calls.List": 12} {
		if v := value(t, rounded.Now[name]); v != want {
			t.Errorf("the public sees %s as %v, want %v", name, v, want)
		}
	}
	if rounded.Store.File != 120_000 {
		t.Errorf("the public sees a file of %d bytes", rounded.Store.File)
	}

	record(b, at(20*time.Second, Few-1, 200))
	for _, span := range []Span{Now, Hour, Day} {
		few := decode(t, b.Answer(Rounded, span))
		if !few.Few || few.Memory != 0 || few.Store.File != 0 || few.Store.Written != 0 {
			t.Errorf("with few clusters the public sees %+v", few)
		}
		for name, v := range few.Now {
			if v != nil {
				t.Errorf("with few clusters the public sees %s", name)
			}
		}
		nothing := decode(t, b.Answer(Nothing, span))
		if nothing.Now != nil || nothing.Series != nil || nothing.Store != nil || nothing.Memory != 0 || nothing.Time != 0 || !nothing.Serving || nothing.Version != "v1" {
			t.Errorf("those who may see nothing see %+v", nothing)
		}
		if all := decode(t, b.Answer(Everything, span)); all.Few || value(t, all.Now["clusters"]) != Few-1 {
			t.Errorf("the operator sees %+v", all)
		}
	}
}

func TestAnswerIsMadeOnce(t *testing.T) {
	b := NewBoard(About{})
	if got := decode(t, b.Answer(Everything, Hour)); got.Now != nil || got.Serving {
		t.Errorf("before the first reading: %+v", got)
	}
	record(b, at(0, 20, 0))
	once, again := b.Answer(Everything, Hour), b.Answer(Everything, Hour)
	if &once.Body[0] != &again.Body[0] {
		t.Error("the second answer was made anew")
	}
	if other := b.Answer(Rounded, Hour); other.ETag == once.ETag {
		t.Error("another audience has the same ETag")
	}
	if n := testing.AllocsPerRun(100, func() { b.Answer(Everything, Hour) }); n > 0 {
		t.Errorf("an answer that is there allocates %v times", n)
	}
	record(b, at(10*time.Second, 20, 9))
	if later := b.Answer(Everything, Hour); later.ETag == once.ETag {
		t.Error("a later answer has the same ETag")
	}
}

func TestRoundingLosesDigitsOnly(t *testing.T) {
	for _, c := range []struct {
		n      float64
		digits int
		want   float64
	}{
		{0, 2, 0}, {1, 2, 1}, {10, 2, 10}, {99, 2, 99}, {100, 2, 100}, {1000, 2, 1000}, {1999, 2, 1900}, {1234, 3, 1230},
		{float64(float32(.1)), 2, .1}, {float64(float32(.7)), 2, .7}, {float64(float32(.0678)), 2, .067}, {5.05, 3, 5.05},
	} {
		if got := roundTo(c.n, c.digits); math.Abs(got-c.want) > 1e-9*c.want {
			t.Errorf("%v with %d digits is %v, want %v", c.n, c.digits, got, c.want)
		}
	}
}

func TestSpanOf(t *testing.T) {
	for name, want := range map[string]Span{"now": Now, "hour": Hour, "day": Day} {
		if got, ok := SpanOf(name); !ok || got != want {
			t.Errorf("%s is %v, %v", name, got, ok)
		}
	}
	if _, ok := SpanOf("year"); ok {
		t.Error("a year is a span")
	}
}

func TestFiles(t *testing.T) {
	for _, name := range []string{Index, "page.js", "page.css", "favicon.svg", "licenses.txt"} {
		f, ok := FileOf(name)
		if !ok || len(f.Content) == 0 || f.Type == "" || f.ETag == "" {
			t.Errorf("%s: %v, %d bytes of %q", name, ok, len(f.Content), f.Type)
		}
	}
	for _, name := range []string{"", "nosuch", "../files.go", "dist"} {
		if _, ok := FileOf(name); ok {
			t.Errorf("%q is a file", name)
		}
	}
}
