package health

import (
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

var start = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

// codes returns the codes of the conditions that are shown.
func codes(conditions []Condition) []condition.Code {
	var all []condition.Code
	for _, c := range Shown(conditions) {
		all = append(all, c.Code)
	}
	return all
}

func TestConditionsKeepWhenTheyBegan(t *testing.T) {
	s := Snapshot{Started: start, Found: []condition.Condition{{Code: condition.TableTaken, Cause: "first"}}}
	before := Assess(start, s, nil)
	s.Found[0].Cause = "second"
	after := Assess(start.Add(time.Hour), s, before)
	if len(after) != 1 || !after[0].Since.Equal(start) || after[0].Cause != "second" {
		t.Errorf("got %+v", after)
	}
	if after = Assess(start.Add(2*time.Hour), Snapshot{Started: start}, after); len(after) != 0 {
		t.Errorf("a condition that is no longer found stays: %+v", after)
	}
}

// TestCourse goes through the time that the definitions ask for.
func TestCourse(t *testing.T) {
	for _, d := range condition.Definitions() {
		s := Snapshot{Started: start, Converged: true, Found: []condition.Condition{{Code: d.Code}}}
		var conditions []Condition
		shownAfter := d.After
		if d.Settles {
			shownAfter = max(d.After, condition.StartTime)
		}
		for _, at := range []time.Duration{0, shownAfter - 1, shownAfter} {
			if at < 0 {
				continue
			}
			conditions = Assess(start.Add(at), s, conditions)
			if shown := len(Shown(conditions)) > 0; shown != (at >= shownAfter) {
				t.Errorf("%s: %v after the start, shown is %v", d.Code, at, shown)
			}
			if due := Due(start.Add(at), s, conditions); at < shownAfter && due != shownAfter-at {
				t.Errorf("%s: %v after the start, due in %v", d.Code, at, due)
			}
		}
		s.Found = nil
		ends := start.Add(shownAfter).Add(d.ClearsAfter)
		if d.ClearsAfter > 0 {
			if conditions = Assess(ends.Add(-1), s, conditions); len(Shown(conditions)) != 1 {
				t.Errorf("%s ends before it was absent for %v", d.Code, d.ClearsAfter)
			}
			if due := Due(ends.Add(-1), s, conditions); due != 1 {
				t.Errorf("%s ends in %v", d.Code, due)
			}
		}
		if conditions = Assess(ends, s, conditions); len(conditions) != 0 {
			t.Errorf("%s stays for ever", d.Code)
		}
	}
}

// TestCausesHideTheirEffects has each condition beside those that it hides.
func TestCausesHideTheirEffects(t *testing.T) {
	for _, d := range condition.Definitions() {
		for _, hidden := range d.Hides {
			s := Snapshot{Started: start.Add(-time.Hour), Found: []condition.Condition{{Code: d.Code}, {Code: hidden}}}
			conditions := Assess(start, s, nil)
			conditions = Assess(start.Add(time.Hour), s, conditions)
			if got := codes(conditions); !slices.Equal(got, []condition.Code{d.Code}) {
				t.Errorf("%s beside %s: shown are %v", d.Code, hidden, got)
			}
			s.Found = s.Found[1:]
			conditions = Assess(start.Add(2*time.Hour), s, conditions)
			conditions = Assess(start.Add(3*time.Hour), s, conditions)
			if got := codes(conditions); !slices.Equal(got, []condition.Code{hidden}) {
				t.Errorf("%s after %s: shown are %v", hidden, d.Code, got)
			}
		}
	}
}

func TestSummarize(t *testing.T) {
	const warning, failure, info = condition.MarkShared, condition.TableTaken, condition.AddressOverlap
	for _, test := range []struct {
		name      string
		converged bool
		found     []condition.Condition
		state     State
		ready     bool
	}{
		{"nothing", true, nil, Healthy, true},
		{"before the first pass", false, nil, Starting, false},
		{"an info", true, []condition.Condition{{Code: info}}, Healthy, true},
		{"a warning", true, []condition.Condition{{Code: warning}}, Degraded, true},
		{"an error", true, []condition.Condition{{Code: warning}, {Code: failure}}, Broken, false},
		{"an error before the first pass", false, []condition.Condition{{Code: failure}}, Broken, false},
		{"an error that is a warning here", true, []condition.Condition{{Code: failure, Level: condition.SeverityWarning}}, Degraded, true},
		{"a warning that is an error here", true, []condition.Condition{{Code: warning, Level: condition.SeverityError}}, Broken, true},
	} {
		s := Snapshot{Started: start, Converged: test.converged, Found: test.found}
		r := Summarize(start, s, Assess(start, s, nil))
		if r.State != test.state || r.Ready != test.ready || len(r.Conditions) != len(test.found) {
			t.Errorf("%s: got %+v", test.name, r)
		}
	}
}

// TestAnnouncedWhileHidden has a condition that was shown hidden, and found again or gone.
func TestAnnouncedWhileHidden(t *testing.T) {
	for _, d := range condition.Definitions() {
		for _, hidden := range d.Hides {
			effect, both := Snapshot{Started: start.Add(-time.Hour), Found: []condition.Condition{{Code: hidden}}},
				Snapshot{Started: start.Add(-time.Hour), Found: []condition.Condition{{Code: d.Code}, {Code: hidden}}}
			course := Assess(start, effect, nil)
			began := start.Add(time.Hour)
			course = Assess(began, effect, course)
			course = Assess(began.Add(time.Hour), both, course)
			course = Assess(began.Add(2*time.Hour), both, course)
			i := slices.IndexFunc(course, func(c Condition) bool { return c.Code == hidden })
			if i < 0 || course[i].Shown || course[i].Announced == "" {
				t.Fatalf("%s behind %s is %+v", hidden, d.Code, course)
			}
			clears := max(d.ClearsAfter, hidden.Definition().ClearsAfter)
			again := Assess(began.Add(2*time.Hour+clears), effect, course)
			if got := codes(again); !slices.Equal(got, []condition.Code{hidden}) || again[0].Announced == "" || !again[0].Since.Equal(start) {
				t.Errorf("%s without %s is %+v", hidden, d.Code, again)
			}
		}
	}
	// Its cause is not found for a moment less than it takes to clear.
	lasting := Snapshot{Started: start.Add(-time.Hour), Found: []condition.Condition{{Code: condition.UDPBlocked}}}
	course := Assess(start.Add(time.Hour), lasting, Assess(start, lasting, nil))
	lasting.Found = []condition.Condition{{Code: condition.NetworkDown}}
	course = Assess(start.Add(time.Hour+1), lasting, course)
	course = Assess(start.Add(time.Hour+2), lasting, course)
	if len(course) != 2 || course[1].Shown || course[1].Announced == "" {
		t.Errorf("what is hidden and not found is %+v", course)
	}
}

// TestAnnouncedAgainWhereItMattersMore has a condition whose level rises and falls.
func TestAnnouncedAgainWhereItMattersMore(t *testing.T) {
	const warning, failure = condition.SeverityWarning, condition.SeverityError
	var before []Condition
	for i, step := range []struct {
		level  condition.Severity
		hidden bool
		begins bool
	}{
		{warning, false, true},
		{warning, false, false},
		{failure, false, true},
		{failure, false, false},
		{warning, false, false},
		{failure, true, false}, // what hides it says more
		{failure, false, true},
	} {
		s := Snapshot{Started: start.Add(-time.Hour), Found: []condition.Condition{{Code: condition.DiscoveryUnreachable, Level: step.level}}}
		if step.hidden {
			s.Found = append(s.Found, condition.Condition{Code: condition.NetworkDown})
		}
		after := Assess(start.Add(time.Duration(i)*time.Minute), s, before)
		is := func(all []Condition) (found Condition) {
			for _, c := range all {
				if c.Code == condition.DiscoveryUnreachable {
					found = c
				}
			}
			return found
		}
		c := is(after)
		if got := c.Begins(is(before)); got != step.begins {
			t.Errorf("step %d, %s: begins is %v", i, step.level, got)
		}
		before = after
	}
}

// TestReadyFollowsThePeers has no peer of a mesh up, before any condition says so.
func TestReadyFollowsThePeers(t *testing.T) {
	joined := with(cold("a"), func(p *Peer) { p.FirstSeen = start.Add(-time.Second) })
	for _, test := range []struct {
		name    string
		started time.Duration // before now
		peers   Peers
		ready   bool
	}{
		{"alone in its cluster", time.Hour, Peers{}, true},
		{"all are up", time.Hour, Peers{Up: 2}, true},
		{"one is down, one is up", time.Hour, Peers{Up: 1, Notable: []Peer{lost("a", 10*time.Second)}}, true},
		{"all have just gone down", time.Hour, Peers{Notable: []Peer{lost("a", 10*time.Second), lost("b", 10*time.Second)}}, false},
		{"the only one has just gone down", time.Hour, Peers{Notable: []Peer{lost("a", 10*time.Second)}}, false},
		{"one was never reached", time.Hour, Peers{Notable: []Peer{cold("a")}}, false},
		{"all call, and hear no answer", time.Hour, Peers{Notable: []Peer{calling(7, time.Second)}}, false},
		{"a relay carries it", time.Hour, Peers{Up: 1, Notable: []Peer{with(cold("a"), func(p *Peer) { p.Relay = "r" })}}, true},
		{"the first peer joins", time.Hour, Peers{Notable: []Peer{joined}}, true},
		{"the agent starts", time.Second, Peers{Notable: []Peer{joined}}, false},
		{"the agent starts, and one is up", time.Second, Peers{Up: 1, Notable: []Peer{joined}}, true},
		{"the agent starts without peers", time.Second, Peers{}, true},
		{"a phone is away", time.Hour, Peers{Notable: []Peer{with(lost("a", time.Hour), func(p *Peer) { p.Endpoints = nil })}}, true},
		{"nobody sends to peers at rest", time.Hour, Peers{AtRest: true, Notable: []Peer{with(cold("a"), func(p *Peer) { p.Contact.SentBytes = 0 })}}, true},
		{"without keepalives, and called in vain", time.Hour, Peers{AtRest: true, Notable: []Peer{cold("a")}}, false},
	} {
		s := Snapshot{Started: start.Add(-test.started), Converged: true, Peers: test.peers}
		state := Healthy
		if !test.ready && test.started < condition.StartTime {
			state = Starting
		}
		if r := Summarize(start, s, Assess(start, s, nil)); r.Ready != test.ready || r.State != state {
			t.Errorf("%s: ready is %v, %s: %v", test.name, r.Ready, r.State, r.Conditions)
		}
	}
}
