package link

import (
	"net/netip"
	"testing"
	"time"
)

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one   = netip.MustParseAddrPort("192.0.2.1:1")
	two   = netip.MustParseAddrPort("192.0.2.2:2")
	three = netip.MustParseAddrPort("192.0.2.3:3")
	away  = netip.MustParseAddrPort("198.51.100.9:9")
)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// TestStates has the times of the KubeSpan states: what is shown of a peer whose
// endpoint was set at second 1000, by when its last handshake was.
func TestStates(t *testing.T) {
	const change, never = 1000, -1
	for _, c := range []struct {
		name           string
		now, handshake int
		want           State
	}{
		{"just set", 1000, never, Unknown},
		{"just set, with a handshake of the endpoint before", 1001, 999, Unknown},
		{"answered at once", 1001, 1001, Up},
		{"at the end of its trial", 1015, never, Unknown},
		{"past its trial", 1016, never, Down},
		{"past its trial, with an old handshake", 1016, 999, Down},
		{"answered late", 1016, 1015, Up},
		{"at the end of the first handshake's life", 1275, 1001, Up},
		{"with a fresh handshake after that", 1300, 1200, Up},
		{"a second before a handshake is too old", 1474, 1200, Up},
		{"when the handshake is too old", 1475, 1200, Down},
		{"never answered", 5000, never, Down},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := Status{LastUsedEndpoint: one, Endpoint: one, LastEndpointChange: at(change)}
			seen := Observed{Present: true, Endpoint: one}
			if c.handshake != never {
				seen.LastHandshake = at(c.handshake)
			}
			// A single endpoint is kept, so that nothing is set.
			after, set := Step(at(c.now), Spec{Endpoints: []netip.AddrPort{one}}, before, seen)
			if after.State != c.want || set.IsValid() {
				t.Errorf("state %s, set %v, want %s and nothing set", after.State, set, c.want)
			}
		})
	}
}

// TestEndpoints tells which endpoint is set for a peer.
func TestEndpoints(t *testing.T) {
	all := []netip.AddrPort{one, two, three}
	up := Observed{Present: true, Endpoint: one, LastHandshake: at(990)}
	for _, c := range []struct {
		name   string
		spec   []netip.AddrPort
		before Status
		seen   Observed
		want   netip.AddrPort
		state  State
	}{
		{"a new peer gets its first", all, Status{}, Observed{}, one, Unknown},
		{"a new peer without any gets none", nil, Status{}, Observed{}, netip.AddrPort{}, Unknown},
		{"one that is up keeps its own", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, up, netip.AddrPort{}, Up},
		{"one that is up and roamed is left alone", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away, LastHandshake: at(990)}, netip.AddrPort{}, Up},
		{"one that is up stays when its endpoint is listed no more", []netip.AddrPort{two}, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)},
			up, netip.AddrPort{}, Up},
		{"one on trial is given its time", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(990)}, Observed{Present: true, Endpoint: one},
			netip.AddrPort{}, Unknown},
		{"one that is down gets the next", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: one}, two, Unknown},
		{"after the last comes the first", all, Status{LastUsedEndpoint: three, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: three}, one, Unknown},
		{"after one that is listed no more comes the first", all, Status{LastUsedEndpoint: away, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away}, one, Unknown},
		{"a single one is kept", all[:1], Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: one}, netip.AddrPort{}, Down},
		{"a single one is set again after roaming", all[:1], Status{LastUsedEndpoint: one, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away}, one, Unknown},
		{"a peer that was removed comes back where it was", all, Status{State: Up, LastUsedEndpoint: two, Endpoint: away, LastEndpointChange: at(900), LastHandshake: at(990)},
			Observed{}, away, Unknown},
		{"a peer that was removed when it was down comes back with the next", all, Status{State: Down, LastUsedEndpoint: two, Endpoint: two, LastEndpointChange: at(900)},
			Observed{}, three, Unknown},
		{"one found up at the start stays up", all, Status{}, up, netip.AddrPort{}, Up},
		{"one found without a handshake gets its trial", all, Status{}, Observed{Present: true, Endpoint: two}, netip.AddrPort{}, Unknown},
		{"one that called first is up without an endpoint of ours", nil, Status{},
			Observed{Present: true, Endpoint: away, LastHandshake: at(999)}, netip.AddrPort{}, Up},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, set := Step(at(1000), Spec{Endpoints: c.spec, Begins: true}, c.before, c.seen)
			if set != c.want || after.State != c.state {
				t.Errorf("set %v, state %s, want %v and %s", set, after.State, c.want, c.state)
			}
			if set.IsValid() && (after.Endpoint != set || !after.LastEndpointChange.Equal(at(1000))) {
				t.Errorf("the status does not tell of the change: %+v", after)
			}
		})
	}
}

// TestDeadEndpointsAreCycled follows a peer of which only the third endpoint
// answers, with looks as NextLook has them.
func TestDeadEndpointsAreCycled(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two, three}, Begins: true}
	var status Status
	var seen Observed
	now := start
	for now.Before(at(120)) {
		var set netip.AddrPort
		status, set = Step(now, spec, status, seen)
		if set.IsValid() {
			seen = Observed{Present: true, Endpoint: set}
		}
		if seen.Endpoint == three && seen.LastHandshake.IsZero() {
			seen.LastHandshake = now.Add(time.Millisecond)
		}
		if status.State == Up {
			break
		}
		now = now.Add(NextLook(now, []Status{status}))
	}
	if took := now.Sub(start); status.State != Up || took > 40*time.Second {
		t.Errorf("%s after %v: %+v", status.State, took, status)
	}
}

// TestOneSideBegins follows the machine that is to wait.
func TestOneSideBegins(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one}}
	created, set := Step(start, spec, Status{}, Observed{})
	if !created.Quiet() || set != one {
		t.Fatalf("a new peer is not quiet, or has no endpoint: %+v", created)
	}
	if look := NextLook(start, []Status{created}); look > quiet {
		t.Errorf("the next look is in %v, after the end of the quiet", look)
	}
	present := Observed{Present: true, Endpoint: one}
	if s, _ := Step(start.Add(quiet/2), spec, created, present); !s.Quiet() {
		t.Error("not quiet for long enough")
	}
	if s, _ := Step(start.Add(quiet), spec, created, present); s.Quiet() {
		t.Error("quiet for too long")
	}
	answered := present
	answered.LastHandshake = start.Add(quiet / 4)
	if s, _ := Step(start.Add(quiet/2), spec, created, answered); s.Quiet() || s.State != Up {
		t.Errorf("quiet although the other has begun: %+v", s)
	}
	spec.Begins = true
	if s, _ := Step(start, spec, Status{}, Observed{}); s.Quiet() {
		t.Error("the machine that begins is quiet")
	}
}

func TestNextLook(t *testing.T) {
	trial := Status{State: Unknown, LastUsedEndpoint: one}
	many := make([]Status, crowd+1)
	many[0] = trial
	for _, c := range []struct {
		name     string
		statuses []Status
		want     time.Duration
	}{
		{"no peers", nil, RestInterval},
		{"peers that are up or have nothing to try", []Status{{State: Up}, {State: Unknown}}, RestInterval},
		{"a single dead endpoint", []Status{{State: Down, LastUsedEndpoint: one}}, RestInterval},
		{"one on trial", []Status{{State: Up}, trial}, TrialInterval},
		{"one on trial in a crowd", many, CrowdInterval},
		{"one that is quiet", []Status{{State: Up, QuietUntil: start.Add(100 * time.Millisecond)}}, 100 * time.Millisecond},
		{"one whose quiet is over", []Status{{State: Up, QuietUntil: start.Add(-time.Second)}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NextLook(start, c.statuses); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func BenchmarkStep(b *testing.B) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two, three}}
	before := Status{State: Up, LastUsedEndpoint: one, Endpoint: one, LastEndpointChange: at(0), LastHandshake: at(990)}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(990)}
	b.ReportAllocs()
	for b.Loop() {
		Step(at(1000), spec, before, seen)
	}
}
