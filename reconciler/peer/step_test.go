package peer

import (
	"math/rand/v2"
	"net/netip"
	"slices"
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

// TestStates checks the times of the KubeSpan states of a peer whose endpoint was set at
// second 1000.
func TestStates(t *testing.T) {
	const change, never = 1000, -1
	for _, c := range []struct {
		name           string
		now, handshake int
		want           State
	}{
		{"just set", 1000, never, Unknown},
		{"just set, with a handshake at the previous endpoint", 1001, 999, Unknown},
		{"answered at once", 1001, 1001, Up},
		{"late in its trial, as nothing was sent yet", 1014, never, Unknown},
		{"past its trial", 1015, never, Down},
		{"past its trial, with an old handshake", 1016, 999, Down},
		{"answered late", 1016, 1015, Up},
		{"at the end of the first handshake's life", 1275, 1001, Up},
		{"with a fresh handshake after that", 1300, 1200, Up},
		{"a second before a handshake is too old", 1474, 1200, Up},
		{"when the handshake is too old", 1475, 1200, Down},
		{"never answered", 5000, never, Down},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := Status{LastUsedEndpoint: one, Endpoint: one, LastEndpointChange: at(change), LastUp: InstantOf(at(change)), lastReceived: InstantOf(at(c.now))}
			seen := Observed{Present: true, Endpoint: one}
			if c.handshake != never {
				seen.LastHandshake = at(c.handshake)
			}
			// A single endpoint is never replaced.
			after, do := Step(at(c.now), Spec{Endpoints: []netip.AddrPort{one}}, before, seen)
			if after.State != c.want || do != (Action{}) {
				t.Errorf("state %s, action %v, want %s and none", after.State, do, c.want)
			}
		})
	}
}

// TestEndpoints checks which endpoint is set for a peer.
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
		{"a new peer gets the first", all, Status{}, Observed{}, one, Unknown},
		{"a new peer without endpoints gets none", nil, Status{}, Observed{}, netip.AddrPort{}, Unknown},
		{"up: the endpoint stays", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, up, netip.AddrPort{}, Up},
		{"up and roamed: the endpoint stays", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away, LastHandshake: at(990)}, netip.AddrPort{}, Up},
		{"up at an endpoint that is no longer listed: it stays", []netip.AddrPort{two}, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)},
			up, netip.AddrPort{}, Up},
		{"on trial: the endpoint stays", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(996)}, Observed{Present: true, Endpoint: one},
			netip.AddrPort{}, Unknown},
		{"no answer to an initiation: the next", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(995), sentAt: InstantOf(at(996))},
			Observed{Present: true, Endpoint: one}, two, Unknown},
		{"an initiation was sent just now: the endpoint stays", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(994), TransmitBytes: 1},
			Observed{Present: true, Endpoint: one, TransmitBytes: 149}, netip.AddrPort{}, Unknown},
		{"something was received: the trial takes longer", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(990), sentAt: InstantOf(at(990))},
			Observed{Present: true, Endpoint: one, ReceiveBytes: 148}, netip.AddrPort{}, Unknown},
		{"data of an older session at the new endpoint: up", all, Status{LastUsedEndpoint: two, LastEndpointChange: at(998), kernelHandshake: InstantOf(at(900)), LastHandshake: at(900)},
			Observed{Present: true, Endpoint: two, LastHandshake: at(900), ReceiveBytes: 32}, netip.AddrPort{}, Up},
		{"only an initiation received at the new endpoint: not up", all, Status{LastUsedEndpoint: two, LastEndpointChange: at(998), kernelHandshake: InstantOf(at(900)), LastHandshake: at(900)},
			Observed{Present: true, Endpoint: two, LastHandshake: at(900), ReceiveBytes: 148}, netip.AddrPort{}, Unknown},
		{"WireGuard changed the endpoint: a trial", all, Status{LastUsedEndpoint: one, Endpoint: one, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away}, netip.AddrPort{}, Unknown},
		{"no answer to a probe: the next", all, Status{LastUsedEndpoint: one, Endpoint: one, LastEndpointChange: at(900), probing: probing{since: InstantOf(at(985)), timeout: probeTimeout, sent: 5}, lastReceived: InstantOf(at(950))},
			up, two, Unknown},
		{"down: the next", all, Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: one}, two, Unknown},
		{"after the last, the first in another round", all, Status{LastUsedEndpoint: three, LastEndpointChange: at(900), Tried: []netip.AddrPort{one, two}},
			Observed{Present: true, Endpoint: three}, one, Down},
		{"the first that has not failed is next", all, Status{LastUsedEndpoint: three, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: three}, one, Unknown},
		{"after one that is no longer listed, the first", all, Status{LastUsedEndpoint: away, LastEndpointChange: at(900)},
			Observed{Present: true, Endpoint: away}, one, Unknown},
		{"a single endpoint stays", all[:1], Status{LastUsedEndpoint: one, LastEndpointChange: at(900)}, Observed{Present: true, Endpoint: one}, netip.AddrPort{}, Down},
		{"a single endpoint is set again after roaming", all[:1], Status{LastUsedEndpoint: one, LastEndpointChange: at(900), Endpoint: away},
			Observed{Present: true, Endpoint: away}, one, Down},
		{"removed by another program while up: the same endpoint", all, Status{State: Up, LastUsedEndpoint: two, Endpoint: away, LastEndpointChange: at(900), LastHandshake: at(990)},
			Observed{}, away, Unknown},
		{"removed by another program while down: the next", all, Status{State: Down, LastUsedEndpoint: two, Endpoint: two, LastEndpointChange: at(900)},
			Observed{}, one, Unknown},
		{"found up at the start: stays up", all, Status{}, up, netip.AddrPort{}, Up},
		{"found without a handshake at the start: a trial", all, Status{}, Observed{Present: true, Endpoint: two}, netip.AddrPort{}, Unknown},
		{"up without endpoints: the peer initiated", nil, Status{},
			Observed{Present: true, Endpoint: away, LastHandshake: at(999)}, netip.AddrPort{}, Up},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.before.LastUsedEndpoint.IsValid() {
				c.before.LastUp = InstantOf(at(800))
				if c.before.lastReceived.IsZero() {
					c.before.lastReceived = InstantOf(at(990))
				}
			}
			after, do := Step(at(1000), Spec{Endpoints: c.spec, Initiator: true}, c.before, c.seen)
			set := do.Endpoint
			if set != c.want || after.State != c.state {
				t.Errorf("set %v, state %s, want %v and %s", set, after.State, c.want, c.state)
			}
			if set.IsValid() && (after.Endpoint != set || !after.LastEndpointChange.Equal(at(1000))) {
				t.Errorf("the status does not have the change: %+v", after)
			}
		})
	}
}

// wireguard simulates WireGuard's initiations: one every 5 seconds and up to a third more,
// to the endpoint that is set at that moment.
type wireguard struct {
	seen   Observed
	answer netip.AddrPort
	next   time.Time
	random *rand.Rand
}

// until advances the time.
func (w *wireguard) until(now time.Time) {
	for !w.next.After(now) {
		w.seen.TransmitBytes += initiationSize
		if w.seen.Endpoint == w.answer {
			w.seen.LastHandshake, w.seen.ReceiveBytes = w.next.Add(time.Millisecond), 92
		}
		w.next = w.next.Add(5*time.Second + time.Duration(w.random.Int64N(int64(time.Second/3))))
	}
}

// TestDeadEndpointsAreCycled has a peer of which only the sixth endpoint answers. Readings
// are as far apart as NextCheck returns, and what follows from a reading takes time. No
// endpoint may be given up before something was sent to it.
func TestDeadEndpointsAreCycled(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two, away, netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:1"), three}, Initiator: true}
	var worst time.Duration
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		up := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
		w := wireguard{answer: three, next: start.Add(up(time.Second)), random: random}
		var status Status
		now := start
		for now.Before(at(120)) {
			w.until(now)
			var do Action
			status, do = Step(now, spec, status, w.seen)
			if status.State == Up {
				break
			}
			done := now.Add(up(200 * time.Millisecond))
			w.until(done)
			if do.Endpoint.IsValid() {
				w.seen.Present, w.seen.Endpoint = true, do.Endpoint
			}
			now = done.Add(checkAt(now, status))
		}
		took := now.Sub(start)
		worst = max(worst, took)
		if status.State != Up || took > 35*time.Second {
			t.Errorf("run %d: %s after %v", seed, status.State, took)
		}
	}
	t.Logf("at most %v", worst)
}

// TestOtherSideInitiates is about the machine that is not the initiator.
func TestOtherSideInitiates(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one}}
	created, do := Step(start, spec, Status{}, Observed{})
	if !created.InitiationDeferred() || do.Endpoint != one {
		t.Fatalf("a new peer has a keepalive, or no endpoint: %+v", created)
	}
	if check := checkAt(start, created); check > initiationDelay {
		t.Errorf("the next check is in %v, after the delay", check)
	}
	present := Observed{Present: true, Endpoint: one}
	if s, _ := Step(start.Add(initiationDelay/2), spec, created, present); !s.InitiationDeferred() {
		t.Error("initiation is not deferred for long enough")
	}
	if s, _ := Step(start.Add(initiationDelay), spec, created, present); s.InitiationDeferred() {
		t.Error("initiation is deferred for too long")
	}
	answered := present
	answered.LastHandshake = start.Add(initiationDelay / 4)
	if s, _ := Step(start.Add(initiationDelay/2), spec, created, answered); s.InitiationDeferred() || s.State != Up {
		t.Errorf("initiation is deferred although the other side has initiated: %+v", s)
	}
	spec.Initiator = true
	if s, _ := Step(start, spec, Status{}, Observed{}); s.InitiationDeferred() {
		t.Error("the initiator defers its initiation")
	}
}

func TestNextCheck(t *testing.T) {
	well := Status{State: Up, lastReceived: InstantOf(start)}
	trying := Status{State: Unknown, LastUsedEndpoint: one, LastUp: InstantOf(start)}
	many := slices.Repeat([]Status{well}, largeMesh+1)
	many[0] = trying
	for _, c := range []struct {
		name     string
		statuses []Status
		want     time.Duration
	}{
		{"no peers", nil, IdleInterval},
		{"peers that are up or have no endpoints", []Status{well, {State: Unknown}}, RestInterval},
		{"a peer whose bytes move", []Status{well, {State: Up, moved: true, moving: true}}, ActiveInterval},
		{"a peer that has not answered: until it is probed", []Status{well, {State: Up, echoes: true, LastHandshake: start, unansweredSince: InstantOf(start.Add(-2500 * time.Millisecond))}}, 500 * time.Millisecond},
		{"a contested peer: until it is probed", []Status{well, {State: Up, echoes: true, LastHandshake: start, contested: true, lastReceived: InstantOf(start.Add(-1500 * time.Millisecond))}}, 500 * time.Millisecond},
		{"a dead endpoint", []Status{{State: Down, LastUsedEndpoint: one}}, retryInterval},
		{"a peer that was up ten seconds ago", []Status{{State: Down, LastUsedEndpoint: one, LastUp: InstantOf(start.Add(-10 * time.Second))}}, time.Second},
		{"a probed peer: until the deadline", []Status{{State: Up, probing: probing{since: InstantOf(start.Add(-14 * time.Second)), timeout: probeTimeout, sent: 5}, lastProbe: InstantOf(start)}}, probeTimeout - 14*time.Second},
		{"a probed peer: until the next probe", []Status{{State: Up, probing: probing{since: InstantOf(start.Add(-time.Second)), timeout: probeTimeout, sent: 1}, lastProbe: InstantOf(start.Add(-time.Second))}}, probeInterval - time.Second},
		{"a peer that is sent echoes: until the next", []Status{{State: Up, probing: probing{since: InstantOf(start.Add(-2 * time.Second)), timeout: echoTimeout, sent: 3, byEcho: true},
			lastProbe: InstantOf(start.Add(-100 * time.Millisecond))}}, echoRetryInterval - 100*time.Millisecond},
		{"an endpoint to which nothing was sent yet", []Status{{State: Down, LastUsedEndpoint: one, LastEndpointChange: start.Add(-time.Second)}}, trialInterval},
		{"an endpoint whose trial ends", []Status{{State: Down, LastUsedEndpoint: one, LastEndpointChange: start.Add(-endpointTrial),
			sentAt: InstantOf(start.Add(300*time.Millisecond - endpointTrial))}}, 300 * time.Millisecond},
		{"a peer that was just given another endpoint", []Status{well, {State: Unknown, LastUsedEndpoint: one, LastEndpointChange: start, sendUnconfirmed: true}}, confirmInterval},
		{"a peer on trial", []Status{well, trying}, trialInterval},
		{"a peer on trial in a large mesh", many, RestInterval},
		{"a peer with a deferred initiation", []Status{{State: Up, lastReceived: InstantOf(start), InitiateAfter: start.Add(100 * time.Millisecond)}}, 100 * time.Millisecond},
		{"a peer whose initiation is due", []Status{{State: Up, lastReceived: InstantOf(start), InitiateAfter: start.Add(-time.Second)}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NextCheck(start, pointers(c.statuses), len(c.statuses)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func checkAt(now time.Time, s Status) time.Duration {
	return NextCheck(now, pointers([]Status{s}), 1)
}

// TestSilentPeerIsProbed has a peer fall silent that is up.
func TestSilentPeerIsProbed(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two}, Initiator: true}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100}
	status, do := Step(start, spec, Status{}, seen)
	if do != (Action{}) || status.State != Up {
		t.Fatalf("at the start: %v, %s", do, status.State)
	}
	if status, do = Step(at(34), spec, status, seen); do != (Action{}) {
		t.Errorf("probed too early: %v", do)
	}
	if status, do = Step(at(35), spec, status, seen); !do.Probe || status.State != Up {
		t.Fatalf("after the probeAfter: %v, %s", do, status.State)
	}
	if _, do = Step(at(37), spec, status, seen); do != (Action{}) {
		t.Errorf("probed again at once: %v", do)
	}
	for _, second := range []int{38, 41, 44, 47} {
		if status, do = Step(at(second), spec, status, seen); !do.Probe {
			t.Errorf("not probed again at %d, although a probe may have been lost", second)
		}
	}
	answered := seen
	answered.ReceiveBytes++
	if s, do := Step(at(49), spec, status, answered); do != (Action{}) || s.State != Up || s.probing.active() {
		t.Errorf("after the answer: %v, %s", do, s.State)
	}
	if s, do := Step(at(50), spec, status, seen); do.Endpoint != two || s.State != Unknown {
		t.Errorf("without an answer: %v, %s", do, s.State)
	}
	spec.Endpoints = spec.Endpoints[:1]
	if s, do := Step(at(50), spec, status, seen); do != (Action{}) || s.State != Down {
		t.Errorf("without an answer and another endpoint: %v, %s", do, s.State)
	}
}

// TestPeerListsAnotherEndpoint has a peer change its listen port.
func TestPeerListsAnotherEndpoint(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one}, Listed: []netip.AddrPort{one}, Initiator: true}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100}
	status, _ := Step(start, spec, Status{}, seen)
	spec.Endpoints, spec.Listed = []netip.AddrPort{one, two}, []netip.AddrPort{one, two}
	status, do := Step(at(1), spec, status, seen)
	if !do.Probe || status.State != Up {
		t.Fatalf("%v, %s", do, status.State)
	}
	for _, second := range []int{4, 7, 10, 13} {
		status, _ = Step(at(second), spec, status, seen)
	}
	if _, do = Step(at(16), spec, status, seen); do.Endpoint != two {
		t.Errorf("without an answer: %v", do)
	}
}

// TestPeerWithdrawsAddress has a peer withdraw the address at which it is reached.
func TestPeerWithdrawsAddress(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one}, Addresses: []netip.Addr{one.Addr()}, Initiator: true}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100}
	status, _ := Step(start, spec, Status{}, seen)
	spec.Endpoints, spec.Addresses = []netip.AddrPort{one, two}, []netip.Addr{two.Addr()}
	status, do := Step(at(1), spec, status, seen)
	if !do.Probe || status.State != Up {
		t.Fatalf("%v, %s", do, status.State)
	}
	if wait := checkAt(at(1), status); wait != withdrawnTimeout {
		t.Errorf("the next check is in %v", wait)
	}
	if _, do = Step(at(3), spec, status, seen); do.Endpoint != two {
		t.Errorf("without an answer: %v", do)
	}
	seen.ReceiveBytes++
	if s, do := Step(at(3), spec, status, seen); do != (Action{}) || s.State != Up {
		t.Errorf("with an answer: %v, %s", do, s.State)
	}
}

// TestNetworkChanged has the network of the machine change.
func TestNetworkChanged(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two}, Initiator: true, NetworkChanged: true}
	up := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100}
	status, _ := Step(start, spec, Status{}, up)
	if _, do := Step(at(1), spec, status, up); !do.Probe || do.Endpoint.IsValid() {
		t.Errorf("a peer that is up: %v", do)
	}
	down := Status{LastUsedEndpoint: two, Endpoint: two, LastEndpointChange: at(0), Tried: []netip.AddrPort{one}, LastUp: InstantOf(at(-100)), Rounds: 3}
	if s, do := Step(at(3), spec, down, Observed{Present: true, Endpoint: two}); do.Endpoint != one || s.Rounds != 0 {
		t.Errorf("a peer that is down: %v, %d rounds", do, s.Rounds)
	}
	if _, do := Step(at(1), spec, down, Observed{Present: true, Endpoint: two}); do.Endpoint.IsValid() {
		t.Errorf("an endpoint set a second ago: %v", do)
	}
}

// TestClockStep sets the clock by a day: a peer that was up still is.
func TestClockStep(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two}, Initiator: true}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100}
	status, _ := Step(start, spec, Status{}, seen)
	const day = 24 * time.Hour
	status, do := Step(at(1).Add(day), spec, status.Shift(day), seen)
	if status.State != Up || do.Endpoint.IsValid() {
		t.Errorf("%s, %v", status.State, do)
	}
	if status, _ = Step(at(300).Add(day), spec, status, seen); status.State == Up {
		t.Error("the handshake never ages")
	}
	seen.LastHandshake = at(310).Add(day)
	if status, _ = Step(at(311).Add(day), spec, status, seen); status.State != Up || !status.LastHandshake.Equal(seen.LastHandshake) {
		t.Errorf("after the next handshake: %+v", status)
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

// pointers yields the elements of a list.
func pointers(statuses []Status) func(yield func(*Status) bool) {
	return func(yield func(*Status) bool) {
		for i := range statuses {
			if !yield(&statuses[i]) {
				return
			}
		}
	}
}
