package top

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext/healthtest"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// failer is a test, or a try of one.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// fits checks that a screen is as large as its terminal, and that nothing in it controls the
// terminal but colours.
func fits(t failer, m *Model) {
	t.Helper()
	view := m.View()
	if m.view.Width <= 0 || m.height <= 0 {
		if view != "" {
			t.Fatalf("a terminal of %dx%d has %q", m.view.Width, m.height, view)
		}
		return
	}
	lines := strings.Split(view, "\n")
	if len(lines) != m.height {
		t.Fatalf("%d lines on a terminal of %d:\n%s", len(lines), m.height, view)
	}
	for _, line := range lines {
		if width := m.view.Cells.Width(line); width > m.view.Width {
			t.Fatalf("%d columns on a terminal of %d: %q", width, m.view.Width, line)
		}
		if plain := ansi.Strip(line); strings.ContainsFunc(plain, terminal.IsUnsafe) {
			t.Fatalf("a terminal is controlled by %q", line)
		}
		if !m.options.Color && strings.ContainsFunc(line, terminal.IsUnsafe) {
			t.Fatalf("there is an escape sequence without colours: %q", line)
		}
	}
}

var words = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "db1", "ノード", "👩‍💻", "e\u0301", "\x1b[31mred", "a\nb", "\x9b2J", "\u202e", strings.Repeat("long", 60), "a b  c"}))

// anyHealth is an answer with words of strangers in it.
var anyHealth = rapid.Custom(func(t *rapid.T) *agentpb.GetHealthResponse {
	h := healthtest.Sample()
	if rapid.Bool().Draw(t, "empty") {
		h = &agentpb.GetHealthResponse{}
	}
	h.State = rapid.SampledFrom([]string{"healthy", "starting", "degraded", "broken", "no agent", "other"}).Draw(t, "state")
	h.Hostname = words.Draw(t, "hostname")
	h.Peers, h.Conditions = nil, nil
	for range rapid.IntRange(0, 40).Draw(t, "peers") {
		p := &agentpb.Peer{Name: words.Draw(t, "name"), PublicKey: words.Draw(t, "key"), State: rapid.SampledFrom([]string{"up", "down", "unknown", "x"}).Draw(t, "peer state"),
			Path: words.Draw(t, "path"), ReceivedBytes: rapid.Float64().Draw(t, "received"), TransmittedBytes: rapid.Float64().Draw(t, "sent")}
		if rapid.Bool().Draw(t, "timed") {
			p.RttSeconds, p.Loss = proto.Float64(rapid.Float64().Draw(t, "rtt")), proto.Float64(rapid.Float64().Draw(t, "loss"))
		}
		h.Peers = append(h.Peers, p)
	}
	for range rapid.IntRange(0, 12).Draw(t, "conditions") {
		h.Conditions = append(h.Conditions, &agentpb.Condition{Code: words.Draw(t, "code"), Subject: words.Draw(t, "subject"), Cause: words.Draw(t, "cause"),
			Remedy: words.Draw(t, "remedy"), Severity: rapid.SampledFrom([]string{"error", "warning", "info"}).Draw(t, "severity")})
	}
	return h
})

var anyEvents = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
	return Event{Warning: rapid.Bool().Draw(t, "warning"), Reason: words.Draw(t, "reason"), Object: words.Draw(t, "object"), Message: words.Draw(t, "message"),
		Count: rapid.IntRange(0, 3).Draw(t, "count"), Last: healthtest.At.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "hours")) * time.Hour)}
}), 0, 9)

var anyDetails = rapid.Custom(func(t *rapid.T) Details {
	return Details{NodeID: words.Draw(t, "id"), Address: words.Draw(t, "address"), Endpoints: rapid.SliceOfN(words, 0, 3).Draw(t, "endpoints"),
		Refused: rapid.SliceOfN(words, 0, 3).Draw(t, "refused")}
})

var keyNames = []string{"up", "down", "j", "k", "pgup", "pgdown", "home", "end", "g", "G", "space", "enter", "esc", "backspace", "/", "s", "c", "e", "m", "d", "p", "?", "x", "ctrl+u", "tab"}

// TestAnythingFits sends any messages in any order to terminals of any size.
func TestAnythingFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := healthtest.At
		m := New(now, Options{Zone: time.UTC, Color: rapid.Bool().Draw(t, "color"), Remote: rapid.Bool().Draw(t, "remote")}, anyHealth.Draw(t, "first"))
		m.Update(now, Resize{rapid.SampledFrom([]int{20, 80, 200}).Draw(t, "columns"), rapid.SampledFrom([]int{8, 24, 60}).Draw(t, "lines")})
		m.Update(now, EventsAnswer{Events: anyEvents.Draw(t, "first events")})
		fits(t, m)
		if rapid.Bool().Draw(t, "a peer") {
			m.Update(now, Key{Name: "enter"})
			m.Update(now, DetailsAnswer{Peer: m.cursor, Details: anyDetails.Draw(t, "first details")})
			fits(t, m)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-100, 5000).Draw(t, "wait")) * time.Second)
			var message any
			switch rapid.IntRange(0, 7).Draw(t, "message") {
			case 0:
				message = Resize{rapid.IntRange(-1, 220).Draw(t, "width"), rapid.IntRange(-1, 70).Draw(t, "height")}
			case 1:
				message = HealthAnswer{Health: anyHealth.Draw(t, "health")}
			case 2:
				message = HealthAnswer{Err: errors.New(words.Draw(t, "error"))}
			case 3:
				message = EventsAnswer{Events: anyEvents.Draw(t, "events")}
			case 4:
				message = DetailsAnswer{Peer: m.cursor, Details: anyDetails.Draw(t, "details")}
			case 5:
				message = rapid.SampledFrom([]any{Graphemes{}, Tick{}, DiffAnswer{}, DiffAnswer{Err: errors.New("x\x1b")}, DiffAnswer{Lines: []string{"\x1b[31m-  a\x1b[0m"}}}).Draw(t, "other")
				if d, is := message.(DiffAnswer); is && len(d.Lines) > 0 && !m.options.Color {
					message = Tick{}
				}
			default:
				name := rapid.SampledFrom(keyNames).Draw(t, "key")
				message = Key{Name: name, Text: rapid.SampledFrom([]string{"", name, "\x1b", "ノ"}).Draw(t, "text")}
			}
			m.Update(now, message)
			fits(t, m)
		}
	})
}

// TestEachSizeFits draws each screen on terminals of all small sizes.
func TestEachSizeFits(t *testing.T) {
	for name, model := range frames {
		m := model()
		for _, width := range []int{0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 79, 80, 89} {
			for height := range 30 {
				m.Update(m.now, Resize{width, height})
				fits(t, m)
			}
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func topics(asks []Ask) (found []Topic) {
	for _, a := range asks {
		found = append(found, a.Topic)
	}
	return found
}

// TestQuestions has an agent that is asked no more often than each second, and not twice at once.
func TestQuestions(t *testing.T) {
	now := healthtest.At
	m := New(now, Options{Zone: time.UTC}, healthtest.Sample())
	step := func(after time.Duration, message any, want ...Topic) {
		t.Helper()
		now = now.Add(after)
		if got := topics(m.Update(now, message)); !slices.Equal(got, want) {
			t.Errorf("after %v and %T, asked for %v, want %v", now.Sub(healthtest.At), message, got, want)
		}
	}
	step(0, Tick{}, AskEvents, AskSamples)
	step(time.Second, Tick{}, AskHealth)
	step(time.Minute, Tick{}) // neither has been answered
	step(0, EventsAnswer{}, AskEvents)
	step(0, EventsAnswer{})
	step(0, SamplesAnswer{})
	step(0, HealthAnswer{Health: healthtest.Sample()}, AskHealth)
	step(0, HealthAnswer{Health: healthtest.Sample()})
	step(time.Second, Tick{}, AskHealth)
	changed := healthtest.Sample()
	unreachable(changed)
	step(0, HealthAnswer{Health: changed}, AskEvents)
	step(0, EventsAnswer{})
	step(0, Key{Name: "enter"}, AskDetails)
	step(0, DetailsAnswer{Peer: "a"})
	step(0, Key{Name: "d"}, AskDiff)
	step(0, Key{Name: "j"})
	step(0, DiffAnswer{})
	step(0, Key{Name: "d"})
	step(0, Key{Name: "d"}, AskDiff)
	step(0, DiffAnswer{})
	step(time.Second, HealthAnswer{Health: noAgent()}, AskHealth)
	step(0, HealthAnswer{Err: errors.New("away")})
	step(time.Hour, Tick{}, AskHealth) // and nothing else
	again := healthtest.Sample()
	again.Started = healthtest.Ago(time.Second)
	step(0, HealthAnswer{Health: again}, AskEvents, AskSamples)
}

func TestRemoteMachinesWithoutAgentAreAskedLessOften(t *testing.T) {
	now := healthtest.At
	m := New(now, Options{Remote: true, Zone: time.UTC}, healthtest.Sample())
	m.Update(now.Add(time.Second), Tick{})
	m.Update(now.Add(time.Second), HealthAnswer{Health: noAgent()})
	for after, want := range map[time.Duration]int{2 * time.Second: 0, 7 * time.Second: 1} {
		if got := len((&Model{asked: map[Ask]bool{}, due: m.due, live: m.live, now: now.Add(after)}).questions()); got != want {
			t.Errorf("after %v, %d questions, want %d", after, got, want)
		}
	}
}

func TestTrend(t *testing.T) {
	var tr trend
	start := healthtest.At
	put := func(buckets int, b bucket) { tr.put(start.Add(time.Duration(buckets)*bucketTime), b) }
	up := func(rtt float64) bucket { return bucket{rtt: rtt, up: true} }
	for i := range 4 {
		put(i, up(0.010))
	}
	if got := tr.line(10); got != "▄▄▄▄" {
		t.Errorf("a steady peer is %q", got)
	}
	put(4, up(0.040))
	put(5, bucket{down: true})
	put(5, up(0.010)) // a short outage stays visible
	put(7, up(0))
	put(8, bucket{})
	if got := tr.line(10); got != "▂▂▂▂█x . " {
		t.Errorf("the trend is %q", got)
	}
	if got := tr.line(4); got != "x . " {
		t.Errorf("the end of the trend is %q", got)
	}
	for i := 9; i < 500; i++ {
		put(i, up(1))
	}
	if got := len(tr.buckets); got != maxBuckets {
		t.Errorf("%d buckets are kept", got)
	}
	put(3, up(1))
	if got := tr.line(99); got != "▄" {
		t.Errorf("after the clock was set back, the trend is %q", got)
	}
}

// TestSamplesFillTheTrend has an agent that knows the time before the start.
func TestSamplesFillTheTrend(t *testing.T) {
	m := New(healthtest.At, Options{Zone: time.UTC}, healthtest.Sample())
	var samples []Sample
	for i := range 130 {
		s := Sample{Time: healthtest.At.Add(time.Duration(i-129) * bucketTime), State: "up", RTT: 0.0112}
		switch i {
		case 125:
			s = Sample{Time: s.Time, State: "down"}
		case 126:
			s = Sample{Time: s.Time}
		}
		samples = append(samples, s)
	}
	m.Update(m.now, SamplesAnswer{Peers: map[string][]Sample{"a": samples, "gone": samples}})
	if got := m.live.trends["a"].line(8); got != "▄▄▄x ▄▄▄" || len(m.live.trends["a"].buckets) != maxBuckets {
		t.Errorf("the trend of %d is %q", len(m.live.trends["a"].buckets), got)
	}
	h := at(bucketTime, healthtest.Sample())
	h.Peers[0].State, h.Peers[0].RttSeconds = "down", nil
	answer(m, h)
	if got := m.live.trends["a"].line(4); got != "▄▄▄x" {
		t.Errorf("the trend is %q", got)
	}
	if len(m.live.trends) != 2 {
		t.Errorf("there are trends of %d peers", len(m.live.trends))
	}
}

func TestCursorStaysWithItsPeer(t *testing.T) {
	m := sample()
	press(m, "down")
	if m.cursor != "b" {
		t.Fatalf("the cursor is at %q", m.cursor)
	}
	answer(m, &agentpb.GetHealthResponse{State: "healthy", Peers: []*agentpb.Peer{{Name: "aaa", PublicKey: "c"}, {Name: "zzz", PublicKey: "b"}, {Name: "zzzz", PublicKey: "a"}}})
	if rows := m.peers(); rows[m.chosen(rows)].GetName() != "zzz" {
		t.Errorf("the cursor is at %q", rows[m.chosen(rows)].GetName())
	}
	press(m, "s") // the peer that is down first
	if m.sort != byState {
		t.Errorf("sorted by %v", m.sort)
	}
}

func TestSortAndRates(t *testing.T) {
	m := New(healthtest.At, Options{Zone: time.UTC}, healthtest.Sample())
	h := at(2*time.Second, healthtest.Sample())
	h.Peers[1].ReceivedBytes += 4096
	m.Update(m.now, HealthAnswer{Health: h})
	if r := m.live.rates["b"]; !r.known || r.received != 2048 || r.sent != 0 {
		t.Errorf("the rate is %+v", r)
	}
	for o, want := range map[order]string{byName: "db1", byRTT: "db2", byTraffic: "db2", byHandshake: "db2", byLoss: "db1"} {
		m.sort = o
		if got := m.peers()[0].GetName(); got != want {
			t.Errorf("sorted by %v, %s comes first", o, got)
		}
	}
	h = at(4*time.Second, healthtest.Sample())
	h.Peers[1].ReceivedBytes = 0 // the peer began anew
	m.Update(m.now, HealthAnswer{Health: h})
	if r := m.live.rates["b"]; r.known {
		t.Errorf("the rate is %+v", r)
	}
}
