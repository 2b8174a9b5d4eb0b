package samples

import (
	"iter"
	"math"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/spanmesh/span/reconciler/peer"
)

// begun is a time at which steps of both spans begin.
const begun = 1000 * 24 * time.Hour

// read returns a Reading of "a", which has sent so many bytes and half as many back.
func read(state peer.State, bytes uint64) Reading {
	return Reading{Key: "key", Name: "a", State: state, RTT: 11 * time.Millisecond, Loss: 0.5, LossKnown: true, Received: bytes, Transmitted: bytes / 2}
}

type turn struct {
	after time.Duration
	peers []Reading
}

func at(after time.Duration, peers ...Reading) turn { return turn{after, peers} }

func play(turns ...turn) *Ring {
	var r Ring
	for _, t := range turns {
		r.Add(begun+t.after, slices.Values(t.peers))
	}
	return &r
}

// all are the samples of the only peer that the ring has.
func (r *Ring) all(t *testing.T, now time.Duration, span Span) []Sample {
	t.Helper()
	series := r.Series(begun+now, span, func(string, string) bool { return true })
	if len(series) != 1 || series[0].Key != "key" || series[0].Name != "a" || len(series[0].Samples) != span.Steps {
		t.Fatalf("there are %d series, want one of a with %d samples", len(series), span.Steps)
	}
	for i, s := range series[0].Samples[1:] {
		if s.Begin != series[0].Samples[i].Begin+span.Step {
			t.Fatalf("a step begins %v after the one before, want %v", s.Begin-series[0].Samples[i].Begin, span.Step)
		}
	}
	return series[0].Samples
}

// got is a sample, briefly: when it began, and what was known.
type got struct {
	After time.Duration
	State peer.State
	Bytes uint64
}

func newest(samples []Sample, n int) (out []got) {
	for _, s := range samples[len(samples)-n:] {
		out = append(out, got{s.Begin - begun, s.State, s.Received})
	}
	return out
}

func TestSteps(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name  string
		turns []turn
		now   time.Duration
		want  []got
	}{
		{"read within each step", []turn{at(0, read(peer.Up, 100)), at(20*s, read(peer.Up, 300)), at(30*s, read(peer.Up, 400)), at(60*s, read(peer.Up, 400))}, 61 * s,
			[]got{{-30 * s, "", 0}, {0, peer.Up, 300}, {30 * s, peer.Up, 0}}},
		{"bytes are spread over the time between readings", []turn{at(20*s, read(peer.Up, 0)), at(50*s, read(peer.Up, 300)), at(80*s, read(peer.Up, 900))}, 81 * s,
			[]got{{0, peer.Up, 100}, {30 * s, peer.Up, 400}}},
		{"a step without a reading", []turn{at(29*s, read(peer.Up, 0)), at(61*s, read(peer.Up, 320))}, 62 * s,
			[]got{{0, peer.Up, 10}, {30 * s, peer.Up, 300}}},
		{"down for a moment", []turn{at(0, read(peer.Up, 0)), at(10*s, read(peer.Down, 0)), at(12*s, read(peer.Up, 0)), at(60*s, read(peer.Up, 0))}, 60 * s,
			[]got{{0, peer.Down, 0}, {30 * s, peer.Up, 0}}},
		{"on trial", []turn{at(0, read(peer.Up, 0)), at(40*s, read(peer.Unknown, 0)), at(60*s, read(peer.Up, 0))}, 60 * s,
			[]got{{0, peer.Up, 0}, {30 * s, peer.Unknown, 0}}},
		{"down until the next reading", []turn{at(0, read(peer.Up, 0)), at(25*s, read(peer.Down, 0)), at(55*s, read(peer.Up, 0)), at(90*s, read(peer.Up, 0))}, 90 * s,
			[]got{{0, peer.Down, 0}, {30 * s, peer.Down, 0}, {60 * s, peer.Up, 0}}},
		{"the loop was stuck", []turn{at(0, read(peer.Up, 0)), at(20*s, read(peer.Up, 100)), at(130*s, read(peer.Up, 9000)), at(150*s, read(peer.Up, 9200))}, 150 * s,
			[]got{{0, peer.Up, 100}, {30 * s, "", 0}, {60 * s, "", 0}, {90 * s, "", 0}, {120 * s, peer.Up, 200}}},
		{"the loop is stuck", []turn{at(0, read(peer.Up, 0)), at(30*s, read(peer.Up, 100))}, 181 * s,
			[]got{{0, peer.Up, 100}, {30 * s, "", 0}, {60 * s, "", 0}}},
		{"the next reading is due", []turn{at(0, read(peer.Up, 0)), at(31*s, read(peer.Up, 31))}, 119 * s, []got{{-30 * s, "", 0}, {0, peer.Up, 30}}},
		{"WireGuard counts from zero again", []turn{at(0, read(peer.Up, 1000)), at(10*s, read(peer.Up, 50)), at(30*s, read(peer.Up, 60))}, 30 * s,
			[]got{{0, peer.Up, 60}}},
		{"time goes back", []turn{at(0, read(peer.Up, 0)), at(-3600*s, read(peer.Down, 500)), at(30*s, read(peer.Up, 60))}, 30 * s,
			[]got{{0, peer.Up, 60}}},
		{"the peer leaves", []turn{at(0, read(peer.Up, 0)), at(40*s, read(peer.Up, 40)), at(50 * s), at(90 * s)}, 90 * s,
			[]got{{0, peer.Up, 30}, {30 * s, peer.Up, 10}, {60 * s, "", 0}}},
		{"and comes back", []turn{at(0, read(peer.Up, 0)), at(30 * s), at(61*s, read(peer.Up, 500)), at(90*s, read(peer.Up, 501))}, 90 * s,
			[]got{{0, peer.Up, 0}, {30 * s, "", 0}, {60 * s, peer.Up, 1}}},
	} {
		samples := play(test.turns...).all(t, test.now, Hour)
		if diff := cmp.Diff(test.want, newest(samples, len(test.want))); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", test.name, diff)
		}
	}
}

func TestWhatASampleHas(t *testing.T) {
	r := play(at(0, read(peer.Up, 0)), at(29*time.Second, read(peer.Up, 200)), at(30*time.Second, Reading{Key: "key", Name: "a", State: peer.Down}), at(time.Minute))
	samples := r.all(t, time.Minute, Hour)
	want := []Sample{
		{Begin: begun, State: peer.Up, RTT: 11 * time.Millisecond, Loss: 0.5, LossKnown: true, Received: 200, Transmitted: 100},
		{Begin: begun + 30*time.Second, State: peer.Down},
	}
	if diff := cmp.Diff(want, samples[Hour.Steps-2:], cmpopts.EquateApprox(0.0005, 0)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// steady has a peer that is read every 30 seconds for some time, as a machine at rest reads it. It
// sends ten bytes a second, and was down in the step of ten minutes that begins at downIn.
func steady(from, until, downIn time.Duration) []turn {
	var turns []turn
	for after := from; after <= until; after += 30 * time.Second {
		r := read(peer.Up, uint64(after/time.Second)*10)
		if after == downIn+5*time.Minute+5*time.Second {
			r.State = peer.Down
		}
		turns = append(turns, at(after, r))
	}
	return turns
}

func TestDay(t *testing.T) {
	samples := play(steady(5*time.Second, 26*time.Hour+time.Minute, 25*time.Hour)...).all(t, 26*time.Hour+time.Minute, Day)
	if samples[0].Begin != begun+2*time.Hour || samples[Day.Steps-1].Begin != begun+26*time.Hour-dayStep {
		t.Errorf("the steps are from %v to %v", samples[0].Begin-begun, samples[Day.Steps-1].Begin-begun)
	}
	for _, s := range samples {
		want := Sample{Begin: s.Begin, State: peer.Up, RTT: 11 * time.Millisecond, Loss: 0.5, LossKnown: true, Received: 6000, Transmitted: 3000}
		if s.Begin == begun+25*time.Hour {
			want.State = peer.Down
		}
		if diff := cmp.Diff(want, s, cmpopts.EquateApprox(0.0005, 0)); diff != "" {
			t.Errorf("the step at %v: want -, got +:\n%s", s.Begin-begun, diff)
		}
	}
}

// Nothing is known of a suspend, whatever its length, and all of the time before and after.
func TestSuspend(t *testing.T) {
	for _, slept := range []time.Duration{30 * time.Minute, 61 * time.Minute, 5 * time.Hour, 23 * time.Hour, 25 * time.Hour, 1000 * time.Hour} {
		const before = 2*time.Hour + 5*time.Second
		woke := before + slept
		r := play(append(steady(0, before, -1), steady(woke, woke+20*time.Minute, -1)...)...)
		for _, span := range []Span{Hour, Day} {
			for _, s := range r.all(t, woke+20*time.Minute, span) {
				begin, end := s.Begin-begun, s.Begin-begun+span.Step
				known := begin >= 0 && begin < before && slept <= kept || end > woke
				if (s.State != "") != known {
					t.Errorf("after %v, the step of %v at %v is known: %v", slept, span.Step, begin, !known)
				}
			}
		}
	}
}

func TestPeersThatHaveLeft(t *testing.T) {
	named := func(n int) Reading {
		return Reading{Key: strconv.Itoa(n), Name: "peer-" + strconv.Itoa(n), State: peer.Up}
	}
	count := func(r *Ring) int {
		return len(r.Series(r.at, Hour, func(string, string) bool { return true }))
	}
	var r Ring
	now := begun
	r.Add(now, slices.Values([]Reading{named(0), named(1)}))
	for range 24 * 60 {
		now += time.Minute
		r.Add(now, slices.Values([]Reading{named(1)}))
	}
	if n := count(&r); n != 2 {
		t.Errorf("a day after a peer has left there are %d, want 2", n)
	}
	now += time.Minute
	r.Add(now, slices.Values([]Reading{named(1)}))
	if n := count(&r); n != 1 {
		t.Errorf("later there are %d, want 1", n)
	}
	for i := range 10 * maxLeft {
		now += time.Second
		r.Add(now, slices.Values([]Reading{named(1), named(10 + i)}))
	}
	if n := count(&r); n != 2+maxLeft {
		t.Errorf("while one after another comes and leaves there are %d, want %d", n, 2+maxLeft)
	}
	if r.peers["1"] == nil || r.peers["10"] != nil || r.peers[strconv.Itoa(9+10*maxLeft)] == nil {
		t.Error("those that left last are not kept")
	}
}

func TestPack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n") >> rapid.IntRange(0, 63).Draw(t, "shift")
		if p := pack(n, byteBits); p >= 1<<24 {
			t.Fatalf("%d is packed as %d, which has more than 24 bits", n, p)
		} else if far := math.Abs(float64(unpack(p, byteBits)) - float64(n)); far > float64(n)/(1<<byteBits) {
			t.Fatalf("%d is %d, which is %.0f from it", n, unpack(p, byteBits), far)
		} else if n < 1<<byteBits && far != 0 {
			t.Fatalf("%d is not exact", n)
		}
		rtt := min(n, maxRTT)
		if p := pack(rtt, rttBits); p >= 1<<16 {
			t.Fatalf("%d µs are packed as %d, which has more than 16 bits", rtt, p)
		} else if far := math.Abs(float64(unpack(p, rttBits)) - float64(rtt)); far > float64(rtt)/(1<<rttBits) {
			t.Fatalf("%d µs are %d", rtt, unpack(p, rttBits))
		}
	})
}

func TestLossIsKept(t *testing.T) {
	for lost := range 65 {
		want := float64(lost) / 64
		kept := recordOf(linkOf(&Reading{State: peer.Up, Loss: want, LossKnown: true}), 0, 0)
		if s := kept.sample(0); !s.LossKnown || math.Abs(s.Loss-want) > 0.01 || (s.Loss == 0) != (lost == 0) || (s.Loss == 1) != (lost == 64) {
			t.Errorf("a loss of %v is %v", want, s.Loss)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, c := range []struct {
		steps int
		// most is what a peer may need then, in bytes.
		most uint64
	}{{5, 768}, {26 * 60 * 2, 3 << 10}} {
		const n = 100
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var r Ring
		for i := range c.steps {
			r.Add(begun+time.Duration(i)*30*time.Second, crowd(n))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if each := (after.HeapAlloc - before.HeapAlloc) / n; each > c.most {
			t.Errorf("after %d steps, a peer needs %d bytes, want at most %d", c.steps, each, c.most)
		}
		runtime.KeepAlive(&r)
	}
}

// crowd are some peers with keys as long as they are.
func crowd(n int) iter.Seq[Reading] {
	return func(yield func(Reading) bool) {
		for i := range n {
			if !yield(Reading{Key: "0000000000000000000000000000000000000000" + strconv.Itoa(i), State: peer.Up, RTT: time.Millisecond}) {
				return
			}
		}
	}
}

// BenchmarkAdd takes in what is known of 30 peers, every second as under traffic.
func BenchmarkAdd(b *testing.B) {
	peers := slices.Collect(crowd(30))
	var r Ring
	now := begun
	b.ReportAllocs()
	for b.Loop() {
		now += time.Second
		r.Add(now, slices.Values(peers))
	}
}
