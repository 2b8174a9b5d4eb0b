package reconciler_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

var (
	relayKey = mesh.Key{200}
	relayAt  = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:51821"), netip.MustParseAddrPort("[2001:db8::1]:51821")}
)

// relaying is an engine of a machine that has joined a relay.
type relaying struct {
	*reconciler.Engine
	t      *testing.T
	kernel *fakeKernel
	known  reconciler.Knowledge
	text   string
	now    time.Time
}

func newRelaying(t *testing.T) *relaying {
	engine, kernel, _ := newEngine()
	engine.AlwaysInitiate = true
	other := affiliate(1, "10.0.0.1:51820")
	other.KubeSpan.Probes = true
	known := complete(other)
	known.Relays = []mesh.BlindRelay{{Key: relayKey, Endpoints: relayAt, Name: "relay.example"}}
	return &relaying{engine, t, kernel, known, "", start}
}

// pass does a pass some time after the last.
func (r *relaying) pass(after time.Duration) *reconciler.Pass {
	r.t.Helper()
	r.now = r.now.Add(after)
	p, err := r.Run(r.t.Context(), r.now, config(r.t, r.text), r.known)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// peer returns WireGuard's peer for the relay; nil for none.
func (r *relaying) peer() *state.Peer {
	r.kernel.mu.Lock()
	defer r.kernel.mu.Unlock()
	for i := range r.kernel.live.Peers {
		if p := &r.kernel.live.Peers[i]; p.PublicKey == relayKey {
			return p
		}
	}
	return nil
}

// answers has the relay answer: a handshake, or a keepalive.
func (r *relaying) answers(handshake bool) {
	p := r.peer()
	p.ReceiveBytes += 32
	if handshake {
		p.LastHandshake = r.now
	}
}

func TestRelayIsAPeer(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	if p := r.peer(); p == nil || p.Endpoint != relayAt[0] || p.Keepalive != state.RelayKeepalive || len(p.AllowedIPs) > 0 || !p.PresharedKey.IsZero() {
		t.Fatalf("the relay's peer is %+v", p)
	}
	if got := r.pass(time.Second).Local.KubeSpan.Registered; len(got) > 0 {
		t.Errorf("before a handshake, registered with %v", got)
	}
	r.answers(true)
	if got := r.pass(time.Second).Local.KubeSpan.Registered; !slices.Equal(got, []mesh.Key{relayKey}) {
		t.Errorf("after it, registered with %v", got)
	}
	for range 60 {
		r.answers(false)
		if p := r.pass(state.RelayKeepalive); len(p.Plan) > 0 || len(p.Local.KubeSpan.Registered) != 1 {
			t.Fatalf("while the relay answers: %v, registered with %v", p.Plan, p.Local.KubeSpan.Registered)
		}
		if r.now.Sub(r.peer().LastHandshake) > 2*time.Minute {
			r.answers(true)
		}
	}
}

// TestRelayIsSilent has a relay that forgets the session, as one that was killed, and one that is gone.
func TestRelayIsSilent(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	r.answers(true)
	r.pass(time.Second)
	if p := r.pass(21 * time.Second); len(p.Plan) > 0 {
		t.Errorf("after 21 s: %v", p.Plan)
	}
	if diff, err := r.Plan(r.now.Add(5*time.Second), config(t, ""), r.known); err != nil || len(diff.Plan) > 0 {
		t.Errorf("the difference is %v, %v", diff.Plan, err)
	}
	if p := r.pass(2 * time.Second); r.peer() == nil || !r.peer().LastHandshake.IsZero() || p.Same {
		t.Fatalf("after 23 s, the peer is %+v, by %v", r.peer(), p.Plan)
	}
	r.pass(time.Second)
	if got := r.pass(time.Second).Local.KubeSpan.Registered; len(got) != 1 {
		t.Errorf("soon after, registered with %v", got)
	}
	if got := r.pass(22 * time.Second).Local.KubeSpan.Registered; len(got) > 0 {
		t.Errorf("without a handshake, registered with %v", got)
	}
	if p := r.peer(); p == nil || p.Endpoint != relayAt[1] {
		t.Errorf("then the peer is %+v, want the other endpoint", p)
	}
	r.pass(25 * time.Second)
	if p := r.peer(); p == nil || p.Endpoint != relayAt[0] {
		t.Errorf("then the peer is %+v, want the first endpoint again", p)
	}
}

// TestRelayOfAnEarlierProcess is kept as it is.
func TestRelayOfAnEarlierProcess(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	r.answers(true)
	r.Engine = reconciler.NewEngine(r.kernel, identify, &resource.Store{}, discard())
	r.AlwaysInitiate = true
	if p := r.pass(10 * time.Second); len(p.Plan) > 0 || len(p.Local.KubeSpan.Registered) != 1 {
		t.Errorf("another process does %v, registered with %v", p.Plan, p.Local.KubeSpan.Registered)
	}
	r.known.Relays = nil
	if r.pass(time.Second); r.peer() != nil {
		t.Error("a relay that the machine has left is still a peer")
	}
}

// TestRelayWithTheKeyOfAMachine has relays and machines that claim one key.
func TestRelayWithTheKeyOfAMachine(t *testing.T) {
	self, _ := identify("", mesh.Host{})
	for _, test := range []struct {
		name string
		// relay is the relay's key; zero for that of the machine. WasUp is set if the machine was up before.
		relay mesh.Key
		wasUp bool
		// allowed is set where the key is then the machine's.
		allowed   bool
		condition string
	}{
		{"a member publishes the relay's key", mesh.Key{}, false, false,
			"RelayKeyClaimed name-b: name-b publishes the key of the relay relay.example as its own, and is ignored"},
		{"a service gives the key of a machine that was up", mesh.Key{}, true, true,
			"RelayKeyClaimed relay.example: the relay relay.example has the key of name-b, and is not used"},
		{"a service gives this machine's key", self.PublicKey, false, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRelaying(t)
			machine := r.known.Affiliates[0].KubeSpan.PublicKey
			relays := []mesh.BlindRelay{{Key: cmp.Or(test.relay, machine), Endpoints: relayAt, Name: "relay.example"}, {Endpoints: relayAt}, {Key: relayKey}}
			if r.known.Relays = nil; test.wasUp {
				r.pass(0)
				r.kernel.edit(func(s *state.State) { s.Peers[0].LastHandshake, s.Peers[0].ReceiveBytes = r.now, 100 })
				r.pass(time.Second)
			}
			r.known.Relays, r.known.Version = relays, r.known.Version+1
			p := r.pass(time.Second)
			if peers := r.kernel.all(); len(peers) != 1 || len(peers[0].AllowedIPs) > 0 != test.allowed {
				t.Errorf("the peers are %+v", peers)
			}
			found := ""
			for _, c := range p.Conditions {
				if c.Code == condition.RelayKeyClaimed {
					found = c.String()
				}
			}
			if !strings.HasPrefix(found, test.condition) || (found == "") != (test.condition == "") {
				t.Errorf("the condition is %q, want %q", found, test.condition)
			}
		})
	}
}

func TestRelaysAreOff(t *testing.T) {
	r := newRelaying(t)
	r.text = "relay: use: false"
	if r.pass(0); r.peer() != nil {
		t.Error("the relay is a peer")
	}
}

// checked has checks show a state of the relay where WireGuard reaches it.
func (r *relaying) checked(s path.RelayState) {
	s.Key = relayKey
	if !s.At.IsValid() {
		s.At = r.peer().Endpoint
	}
	r.SetDirect(reconciler.Direct{Relays: []path.RelayState{s}})
}

// TestRelayThatDoesNotKnowTheMachine has checks be answered that it is not registered.
func TestRelayThatDoesNotKnowTheMachine(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	r.answers(true)
	r.pass(time.Second)
	r.checked(path.RelayState{Unregistered: 1})
	if p := r.pass(time.Second); r.peer() == nil || !r.peer().LastHandshake.IsZero() || p.Same || len(p.Plan) != 2 {
		t.Fatalf("the peer is %+v, by %v", r.peer(), p.Plan)
	}
	r.answers(true)
	for range 5 {
		if p := r.pass(time.Second); len(p.Plan) > 0 || len(p.Local.KubeSpan.Registered) != 1 {
			t.Errorf("for one answer, there is another handshake: %v", p.Plan)
		}
	}
	r.checked(path.RelayState{Unregistered: 3})
	if p := r.pass(time.Second); len(p.Plan) != 2 {
		t.Errorf("after more such answers: %v", p.Plan)
	}
	r.answers(true)
	r.checked(path.RelayState{Unregistered: 4, At: relayAt[1]})
	if p := r.pass(2 * time.Second); len(p.Plan) > 0 {
		t.Errorf("after one of another endpoint: %v", p.Plan)
	}
}

// TestRelayThatAnswersNoChecks is lost once nothing comes through it either.
func TestRelayThatAnswersNoChecks(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	r.answers(true)
	r.pass(time.Second)
	// A peer is behind the relay.
	behind := func() *state.Peer {
		for i := range r.kernel.live.Peers {
			if p := &r.kernel.live.Peers[i]; p.PublicKey != relayKey {
				return p
			}
		}
		return nil
	}
	behind().Endpoint = r.peer().Endpoint
	behind().LastHandshake = r.now
	r.pass(10 * time.Second)
	r.checked(path.RelayState{Lost: true})
	for range 8 {
		behind().ReceiveBytes += 1000
		if p := r.pass(time.Second); p.Relays()[0].Lost || r.peer().LastHandshake.IsZero() || p.NextCheck > time.Second {
			t.Fatalf("while peers behind it are heard: %+v, the next pass in %v", p.Relays()[0], p.NextCheck)
		}
	}
	if p := r.pass(time.Second); !p.Relays()[0].Lost || !r.peer().LastHandshake.IsZero() {
		t.Errorf("once nothing is: %+v, peer %+v", p.Relays()[0], r.peer())
	}
}

// TestForgedRefusals have every answer, or nudges, say that the relay does not know the machine.
func TestForgedRefusals(t *testing.T) {
	for name, forge := range map[string]func(r *relaying, i int){
		"answers": func(r *relaying, i int) { r.checked(path.RelayState{Unregistered: i}) },
		"nudges":  func(r *relaying, _ int) { r.Nudge(r.peer().Endpoint) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelaying(t)
			r.pass(0)
			r.answers(true)
			r.pass(2 * time.Second)
			forged := func(passes int) (renewed int) {
				for i := range passes {
					r.answers(r.peer().LastHandshake.IsZero())
					forge(r, i+1)
					if r.pass(time.Second); r.peer().LastHandshake.IsZero() {
						renewed++
					}
				}
				return renewed
			}
			if n := forged(320); n < 10 || n > 15 {
				t.Errorf("the relay's peer was made anew %d times", n)
			}
			r.checked(path.RelayState{})
			for range 7 {
				r.answers(r.peer().LastHandshake.IsZero())
				r.pass(state.RelayKeepalive)
			}
			if n := forged(1); n != 1 {
				t.Error("after a rest, it is not made anew at once")
			}
		})
	}
}

// TestForgottenTableAfterAClockStep is told with the clock's time.
func TestForgottenTableAfterAClockStep(t *testing.T) {
	r := newRelaying(t)
	r.pass(0)
	r.answers(true)
	forgot := r.now.Add(500 * time.Millisecond)
	r.checked(path.RelayState{ForgotAt: forgot})
	if p := r.pass(time.Second); !p.Relays()[0].ForgotAt.Equal(forgot) {
		t.Fatalf("forgotten at %v, want %v", p.Relays()[0].ForgotAt, forgot)
	}
	r.now = r.now.Add(-time.Hour)
	p, err := r.RunFor(t.Context(), r.now, config(t, ""), r.known, reconciler.Trigger{ClockStep: -time.Hour})
	if err != nil || !p.Relays()[0].ForgotAt.Equal(forgot.Add(-time.Hour)) {
		t.Errorf("forgotten at %v, %v", p.Relays()[0].ForgotAt, err)
	}
}

// newOverTCP has a relay whose URL is known.
func newOverTCP(t *testing.T) *relaying {
	r := newRelaying(t)
	r.known.Relays[0].URL = "https://relay.example/relay"
	r.known.Relays[0].Endpoints = relayAt[:1]
	return r
}

// TestRelayIsReachedOverTCP has a network that lets no UDP through, and later does.
func TestRelayIsReachedOverTCP(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:40000")
	r := newOverTCP(t)
	r.pass(0)
	if r.pass(6 * time.Second); len(r.OverTCP()) > 0 {
		t.Fatalf("after 6 s, %v are to be reached over TCP", r.OverTCP())
	}
	if r.pass(2 * time.Second); len(r.OverTCP()) != 1 || r.peer().Endpoint != relayAt[0] {
		t.Fatalf("after 8 s, %v are to be reached over TCP, and the peer is %+v", r.OverTCP(), r.peer())
	}
	r.RestoreTunnels(map[mesh.Key]netip.AddrPort{relayKey: local})
	if r.pass(100 * time.Millisecond); r.peer().Endpoint != local {
		t.Fatalf("once there is a tunnel, the peer is %+v", r.peer())
	}
	r.answers(true)
	for range 100 {
		r.answers(false)
		if p := r.pass(state.RelayKeepalive); len(p.Plan) > 0 || len(r.OverTCP()) != 1 {
			t.Fatalf("while UDP is blocked: %v, over TCP %v", p.Plan, r.OverTCP())
		}
		if r.now.Sub(r.peer().LastHandshake) > 2*time.Minute {
			r.answers(true)
		}
	}
	r.checked(path.RelayState{Answers: relayAt[0]})
	if r.pass(time.Second); r.peer().Endpoint != relayAt[0] {
		t.Fatalf("once it answers by UDP, the peer is %+v", r.peer())
	}
	r.answers(false)
	r.pass(time.Minute)
	if len(r.OverTCP()) != 1 {
		t.Error("the tunnel is closed a minute after the last packet")
	}
	for range 10 {
		r.answers(true)
		r.pass(10 * time.Second)
	}
	if len(r.OverTCP()) > 0 {
		t.Errorf("later, %v are to be reached over TCP", r.OverTCP())
	}
	if r.Returns() != 1 {
		t.Errorf("UDP has worked again %d times", r.Returns())
	}
}

// TestTunnelOfAnEarlierAgent is kept, and one that was lost is not waited for.
func TestTunnelOfAnEarlierAgent(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:40000")
	r := newOverTCP(t)
	r.pass(0)
	r.pass(8 * time.Second)
	r.RestoreTunnels(map[mesh.Key]netip.AddrPort{relayKey: local})
	r.pass(time.Second)
	r.answers(true)
	for name, tunnels := range map[string]map[mesh.Key]netip.AddrPort{"with it": {relayKey: local}, "without": nil} {
		kernel := *r
		kernel.Engine = reconciler.NewEngine(r.kernel, identify, &resource.Store{}, discard())
		kernel.AlwaysInitiate = true
		kernel.RestoreTunnels(tunnels)
		p := kernel.pass(time.Second)
		want := relayAt[0]
		if tunnels != nil {
			want = local
		}
		if at := r.peer().Endpoint; at != want || tunnels != nil && (len(p.Plan) > 0 || len(kernel.OverTCP()) != 1) {
			t.Errorf("%s: the peer is at %v, by %v", name, at, p.Plan)
		}
		r.peer().Endpoint = local
	}
}

// offering is a member that offers a relay.
func offering(n byte, relay mesh.Key, endpoints ...netip.AddrPort) mesh.Affiliate {
	a := affiliate(n, "10.0.0.2:51820")
	a.KubeSpan.Offer = mesh.RelayOffer{Key: relay, Endpoints: endpoints}
	return a
}

// TestRelayOfAMember is used beside those of services.
func TestRelayOfAMember(t *testing.T) {
	r := newRelaying(t)
	r.known = complete(affiliate(1, "10.0.0.1:51820"), offering(2, relayKey, relayAt...))
	r.pass(0)
	if p := r.peer(); p == nil || p.Endpoint != relayAt[0] || len(p.AllowedIPs) > 0 {
		t.Fatalf("the relay's peer is %+v", p)
	}
	if got := r.Health(r.now).Relays; len(got) > 0 {
		t.Errorf("before it has answered, it is shown as %+v", got)
	}
	r.answers(true)
	if got := r.pass(time.Second).Local.KubeSpan.Registered; !slices.Equal(got, []mesh.Key{relayKey}) {
		t.Errorf("registered with %v", got)
	}
	if got := r.Health(r.now).Relays; len(got) != 1 || !got[0].Registered {
		t.Errorf("once it has, it is shown as %+v", got)
	}
	if diff, err := r.Plan(r.now.Add(time.Second), config(t, ""), r.known); err != nil || len(diff.Plan) > 0 {
		t.Errorf("the difference is %v, %v", diff.Plan, err)
	}
	r.Engine = reconciler.NewEngine(r.kernel, identify, &resource.Store{}, discard())
	r.AlwaysInitiate = true
	if p := r.pass(10 * time.Second); len(p.Plan) > 0 || len(p.Local.KubeSpan.Registered) != 1 {
		t.Errorf("another process does %v, registered with %v", p.Plan, p.Local.KubeSpan.Registered)
	}
	r.known = complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	if r.pass(time.Second); r.peer() != nil {
		t.Error("a relay that is not offered any more is still a peer")
	}
	r.known = complete(affiliate(1, "10.0.0.1:51820"), offering(2, relayKey, relayAt...))
	r.text = "relay: use: false"
	if r.pass(time.Second); r.peer() != nil {
		t.Error("the relay is a peer although none is to be used")
	}
}

// TestRelayThatAMemberClaims has members that say what is not so.
func TestRelayThatAMemberClaims(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("192.0.2.66:51821")
	services := []mesh.BlindRelay{{Key: relayKey, Endpoints: relayAt, Name: "relay.example"}}
	for _, c := range []struct {
		name     string
		services []mesh.BlindRelay
		honest   mesh.Affiliate
		hostile  mesh.Affiliate
		// tries are the endpoints at which the relay is looked for.
		tries []netip.AddrPort
	}{
		{"the key of a service's relay", services, affiliate(2, "10.0.0.2:51820"), offering(3, relayKey, elsewhere), relayAt[:1]},
		{"the key of a member's relay", nil, offering(2, relayKey, relayAt...), offering(3, relayKey, elsewhere), []netip.AddrPort{relayAt[0], elsewhere}},
		{"the endpoint of a relay as its own", nil, offering(2, relayKey, relayAt...), affiliate(3, relayAt[0].String()), relayAt[:1]},
		{"the key of a machine as that of a relay", services, affiliate(2, "10.0.0.2:51820"), offering(3, mesh.Key{2}, elsewhere), relayAt[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRelaying(t)
			r.known = complete(c.honest, c.hostile)
			r.known.Relays = c.services
			r.pass(0)
			if p := r.peer(); p == nil || !slices.Contains(c.tries, p.Endpoint) {
				t.Fatalf("the relay's peer is %+v", p)
			}
			for _, p := range r.kernel.all() {
				if p.PublicKey == (mesh.Key{2}) && (len(p.AllowedIPs) == 0 || p.Endpoint == elsewhere) {
					t.Errorf("the honest member is %+v", p)
				}
			}
		})
	}
}

// TestKeyOfARelayAsAMachines has a member publish the key of a relay that has answered as its own.
func TestKeyOfARelayAsAMachines(t *testing.T) {
	r := newRelaying(t)
	r.known = complete(offering(2, relayKey, relayAt...))
	r.pass(0)
	r.answers(true)
	r.pass(time.Second)
	hostile := affiliate(3, "10.0.0.3:51820")
	hostile.KubeSpan.PublicKey = relayKey
	r.known = complete(offering(2, relayKey, relayAt...), hostile)
	got := r.pass(time.Second)
	if p := r.peer(); p == nil || p.Endpoint != relayAt[0] || len(p.AllowedIPs) > 0 || len(got.Local.KubeSpan.Registered) != 1 {
		t.Errorf("the relay's peer is %+v, registered with %v", p, got.Local.KubeSpan.Registered)
	}
	if !slices.ContainsFunc(got.Conditions, func(c condition.Condition) bool {
		return c.Code == condition.RelayKeyClaimed && c.Subject == "name-d"
	}) {
		t.Errorf("the conditions are %v", got.Conditions)
	}
}

// TestRelayWithTheKeyOfAPeer has a member offer a relay with the key of a machine that is missing for a
// while, and that goes on sending initiations.
func TestRelayWithTheKeyOfAPeer(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("192.0.2.66:51821")
	victim, hostile := affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820")
	hostile.KubeSpan.Offer = mesh.RelayOffer{Key: victim.KubeSpan.PublicKey, Endpoints: []netip.AddrPort{elsewhere}}
	r := newRelaying(t)
	find := func() *state.Peer {
		for i := range r.kernel.live.Peers {
			if p := &r.kernel.live.Peers[i]; p.PublicKey == victim.KubeSpan.PublicKey {
				return p
			}
		}
		return nil
	}
	r.known = complete(victim, hostile)
	r.pass(0)
	p := find()
	p.LastHandshake, p.ReceiveBytes = r.now, 1000
	r.pass(time.Second)
	for range 4 {
		version := r.known.Version + 1
		r.known = complete(hostile)
		r.known.Version = version
		for range 3 {
			if got := r.pass(time.Second); len(got.Local.KubeSpan.Registered) > 0 {
				t.Fatalf("registered with the machine that is missing: %v", got.Local.KubeSpan.Registered)
			}
			if p := find(); p != nil {
				if isOf := !p.PresharedKey.IsZero() || len(p.AllowedIPs) > 0; isOf || !p.LastHandshake.IsZero() {
					t.Fatalf("the machine's peer is taken for the relay's: %+v", p)
				}
				p.ReceiveBytes += 148
			}
		}
		r.known = complete(victim, hostile)
		r.known.Version = version + 1
		r.pass(time.Second)
		if p := find(); p == nil || p.PresharedKey.IsZero() || len(p.AllowedIPs) == 0 {
			t.Fatalf("the machine is back, and its peer is %+v", p)
		}
	}
}

// TestRelayWithTheKeyOfAFormerPeer has a service give the key of a machine whose peer is still there.
func TestRelayWithTheKeyOfAFormerPeer(t *testing.T) {
	for name, edit := range map[string]func(*state.Peer){
		"with all":             func(*state.Peer) {},
		"with a preshared key": func(p *state.Peer) { p.AllowedIPs = nil },
		"with allowed IPs":     func(p *state.Peer) { p.PresharedKey = mesh.PrivateKey{} },
		"with another keepalive": func(p *state.Peer) {
			p.AllowedIPs, p.PresharedKey, p.Keepalive = nil, mesh.PrivateKey{}, 25*time.Second
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelaying(t)
			machine := affiliate(1, "10.0.0.1:51820")
			r.known = complete(machine)
			r.pass(0)
			p := &r.kernel.live.Peers[0]
			p.LastHandshake, p.ReceiveBytes = r.now, 1000
			edit(p)
			r.Engine = reconciler.NewEngine(r.kernel, identify, &resource.Store{}, discard())
			r.known = complete()
			r.known.Relays = []mesh.BlindRelay{{Key: machine.KubeSpan.PublicKey, Endpoints: relayAt, Name: "relay.example"}}
			got := r.pass(time.Second)
			p = &r.kernel.live.Peers[0]
			if len(got.Local.KubeSpan.Registered) > 0 || !p.LastHandshake.IsZero() || p.Endpoint != relayAt[0] || !p.PresharedKey.IsZero() || len(p.AllowedIPs) > 0 {
				t.Errorf("registered with %v, the peer is %+v", got.Local.KubeSpan.Registered, p)
			}
			p.ReceiveBytes += 148
			if got := r.pass(time.Second); len(got.Local.KubeSpan.Registered) > 0 {
				t.Error("registered without a handshake")
			}
			p = &r.kernel.live.Peers[0]
			p.ReceiveBytes, p.LastHandshake = p.ReceiveBytes+92, r.now
			if got := r.pass(time.Second); len(got.Local.KubeSpan.Registered) != 1 {
				t.Error("not registered after a handshake")
			}
		})
	}
}

// TestAgentsSayThatTheyKnowRelays has an agent, which may use no relays, and a single pass.
func TestAgentsSayThatTheyKnowRelays(t *testing.T) {
	for _, started := range []time.Time{{}, start} {
		for _, text := range []string{"", "relay: use: false"} {
			r := newRelaying(t)
			r.Started, r.Version, r.text = started, "1.0", text
			published := r.pass(0).Local
			next, err := r.AffiliateAs(config(t, text), r.known, identify)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []mesh.Affiliate{published, next} {
				if a.Version != "1.0" || a.KubeSpan.KnowsRelays == started.IsZero() {
					t.Errorf("with %q, started at %v: %+v", text, started, a)
				}
			}
		}
	}
}

// TestRelaysAreListedForTalosNodes has a machine with a relay in clusters with and without machines that
// have no agent.
func TestRelaysAreListedForTalosNodes(t *testing.T) {
	probing, registered, starting, old := affiliate(2, "10.0.0.2:51820"), affiliate(3), affiliate(4), affiliate(6, "10.0.0.6:51820")
	probing.KubeSpan.Probes = true
	registered.KubeSpan.Registered = []mesh.Key{relayKey}
	starting.KubeSpan.KnowsRelays = true
	old.Version = "0.9"
	static := affiliate(5, "10.0.0.5:51820")
	static.NodeID, static.Static = mesh.StaticID("phone"), true
	for _, c := range []struct {
		name   string
		others []mesh.Affiliate
		// want is the number of relays' endpoints.
		want int
	}{
		{"agents alone", []mesh.Affiliate{probing, registered, starting}, 0},
		{"a phone", []mesh.Affiliate{probing, static}, 0},
		{"a Talos node", []mesh.Affiliate{affiliate(1, "10.0.0.1:51820"), probing}, 1},
		{"an earlier version", []mesh.Affiliate{old}, 1},
	} {
		r := newRelaying(t)
		r.known = complete(c.others...)
		r.known.Relays = []mesh.BlindRelay{{Key: relayKey, Endpoints: relayAt, Name: "relay.example"}}
		own := r.pass(0).Local.KubeSpan.Endpoints
		r.pass(time.Second)
		r.answers(true)
		for range 6 {
			r.answers(false)
			k := r.pass(10 * time.Second).Local.KubeSpan
			if !slices.Equal(k.Endpoints, slices.Concat(own, relayAt[:c.want])) || !slices.Equal(k.RelayEndpoints, relayAt[:c.want]) {
				t.Errorf("%s: after %v it lists %v, and names %v as relays'", c.name, r.now.Sub(start), k.Endpoints, k.RelayEndpoints)
			}
		}
		// The relay is silent.
		k := r.pass(50 * time.Second).Local.KubeSpan
		if len(k.Registered) > 0 || !slices.Equal(k.Endpoints, own) || len(k.RelayEndpoints) != c.want {
			t.Errorf("%s: without a relay it lists %v, and names %v", c.name, k.Endpoints, k.RelayEndpoints)
		}
	}
}
