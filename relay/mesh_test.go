package relay_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/internal/wgtest"
)

var relayAt = netip.MustParseAddrPort("192.0.2.1:3478")

// lab is a relay in a network where machines reach nothing else.
type lab struct {
	*wgtest.Network
	router *relay.Router
	// seen gets what the relay sent.
	seen chan relay.Packet
}

func newKey(t testing.TB) (private, public relay.Key) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return relay.Key(k.Bytes()), relay.Key(k.PublicKey().Bytes())
}

func newLab(t testing.TB) *lab {
	private, _ := newKey(t)
	r, err := relay.New(private, relay.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Network: &wgtest.Network{}, router: r, seen: make(chan relay.Packet, 1000)}
	l.Route = func(from, to netip.AddrPort, p []byte) (out []wgtest.Packet) {
		if to != relayAt {
			return nil
		}
		answers := l.router.Handle(time.Now(), relay.Source{Addr: from}, p)
		if len(answers) > 1 || len(answers) == 1 && len(answers[0].Data) > len(p) {
			t.Errorf("%d bytes of type %d were answered with more", len(p), p[0])
		}
		for _, a := range answers {
			out = append(out, wgtest.Packet{From: relayAt, To: a.To.Addr, Data: a.Data})
			select {
			case l.seen <- a:
			default:
			}
		}
		return out
	}
	return l
}

func (l *lab) join(t testing.TB, cluster string, key relay.Key, without ...relay.Key) {
	t.Helper()
	l.Do(func() {
		if err := l.router.Join(time.Now(), cluster, key, netip.MustParseAddr("192.0.2.9"), without); err != nil {
			t.Fatal(err)
		}
	})
}

// await waits until the relay has a number of registered members. Each packet is an event.
func (l *lab) await(t testing.TB, what string, is func(relay.Counts) bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		var c relay.Counts
		l.Do(func() { c = l.router.Counts() })
		if is(c) {
			return
		}
		select {
		case <-l.seen:
		case <-timeout:
			t.Fatalf("%s: %+v", what, c)
		}
	}
}

// bothRegistered reports whether two members are.
func bothRegistered(c relay.Counts) bool { return c.Registered == 2 }

// machine is a device with an address in the mesh.
type machine struct {
	*wgtest.Device
	public relay.Key
	ip     netip.Addr
}

func (l *lab) machine(t testing.TB, at, ip string) *machine {
	private, public := newKey(t)
	return &machine{wgtest.NewDevice(t, l.Network, netip.MustParseAddrPort(at), private), public, netip.MustParseAddr(ip)}
}

func (l *lab) register(t testing.TB, m *machine) {
	m.Peer(t, l.router.PublicKey(), relayAt, "", 10)
}

func (m *machine) knows(t testing.TB, other *machine, endpoint netip.AddrPort) {
	m.Peer(t, other.public, endpoint, other.ip.String()+"/32", 0)
}

// ping sends packets until one arrives.
func ping(t testing.TB, from, to *machine) {
	t.Helper()
	p := tuntest.Ping(to.ip, from.ip)
	from.TUN.Outbound <- p
	timeout := time.After(20 * time.Second)
	for {
		select {
		case got := <-to.TUN.Inbound:
			if string(got) == string(p) {
				return
			}
		case <-timeout:
			t.Fatalf("no ping from %s to %s", from.ip, to.ip)
		}
	}
}

// pair returns two registered members that know each other by the relay.
func pair(t testing.TB, l *lab) (a, b *machine) {
	a, b = l.machine(t, "198.51.100.1:1000", "10.0.0.1"), l.machine(t, "198.51.100.2:2000", "10.0.0.2")
	for _, m := range []*machine{a, b} {
		l.join(t, "c", m.public)
		l.register(t, m)
	}
	a.knows(t, b, relayAt)
	b.knows(t, a, relayAt)
	l.await(t, "register", bothRegistered)
	return a, b
}

func TestTwoMembersMeet(t *testing.T) {
	l := newLab(t)
	a, b := pair(t, l)
	ping(t, a, b)
	ping(t, b, a)
}

func TestNobodyElseRegisters(t *testing.T) {
	l := newLab(t)
	m := l.machine(t, "198.51.100.1:1000", "10.0.0.1")
	l.Do(func() { // The handshake is awaited by its count of drops, no packet is sent.
		route := l.Route
		l.Route = func(from, to netip.AddrPort, p []byte) []wgtest.Packet {
			out := route(from, to, p)
			select {
			case l.seen <- relay.Packet{}:
			default:
			}
			return out
		}
	})
	l.register(t, m)
	l.await(t, "refuse", func(c relay.Counts) bool { return c.Dropped[relay.NotAdmitted] > 0 && c.Registrations == 0 })
}

func TestMembersOfOtherClustersDoNotMeet(t *testing.T) {
	l := newLab(t)
	a, b := l.machine(t, "198.51.100.1:1000", "10.0.0.1"), l.machine(t, "198.51.100.2:2000", "10.0.0.2")
	l.join(t, "one", a.public)
	l.join(t, "two", b.public)
	l.register(t, a)
	l.register(t, b)
	l.await(t, "register", bothRegistered)
	a.knows(t, b, relayAt)
	a.TUN.Outbound <- tuntest.Ping(b.ip, a.ip)
	// The scan ends before anything is sent: keepalives are the events.
	l.await(t, "refuse", func(c relay.Counts) bool { return c.Dropped[relay.UnknownReceiver] > 0 && c.Packets == 0 })
}

func TestAMemberRoamsWithItsFlows(t *testing.T) {
	l := newLab(t)
	a, b := pair(t, l)
	ping(t, a, b)
	ping(t, b, a)
	l.Move(b.Bind, netip.MustParseAddrPort("203.0.113.7:7"))
	// A new handshake with the relay is what its nudge brings about.
	b.Remove(t, l.router.PublicKey())
	l.register(t, b)
	l.await(t, "move", func(c relay.Counts) bool { return c.Moves == 1 })
	ping(t, a, b)
	ping(t, b, a)
	l.Do(func() {
		if n := l.router.Counts().Flows; n != 2 {
			t.Errorf("%d flows, not those of one session", n)
		}
	})
}

func TestAMachineWithoutAgent(t *testing.T) {
	l := newLab(t)
	a, talos := l.machine(t, "198.51.100.1:1000", "10.0.0.1"), l.machine(t, "198.51.100.3:3000", "10.0.0.3")
	b := l.machine(t, "198.51.100.2:2000", "10.0.0.2")
	for _, m := range []*machine{a, b} {
		l.join(t, "c", m.public, talos.public)
		l.register(t, m)
		talos.knows(t, m, relayAt)
		m.knows(t, talos, relayAt)
	}
	l.await(t, "register", bothRegistered)
	ping(t, talos, a)
	// The response of a has shown where the machine is: b can begin.
	ping(t, b, talos)
}

func TestARelayThatWasKilled(t *testing.T) {
	l := newLab(t)
	a, b := pair(t, l)
	ping(t, a, b)
	l.Do(func() {
		private, _ := newKey(t)
		l.router, _ = relay.New(private, relay.DefaultLimits())
	})
	nudged := make(chan struct{}, 1)
	l.Do(func() {
		route := l.Route
		l.Route = func(from, to netip.AddrPort, p []byte) []wgtest.Packet {
			out := route(from, to, p)
			for _, o := range out {
				if string(o.Data[:5]) == "Spn\x01\x03" {
					select {
					case nudged <- struct{}{}:
					default:
					}
				}
			}
			return out
		}
	})
	a.TUN.Outbound <- tuntest.Ping(b.ip, a.ip)
	select {
	case <-nudged:
	case <-time.After(20 * time.Second):
		t.Fatal("no nudge")
	}
}

func TestAPlannedRestartKeepsSessions(t *testing.T) {
	private, _ := newKey(t)
	l := newLab(t)
	l.router, _ = relay.New(private, relay.DefaultLimits())
	a, b := pair(t, l)
	ping(t, a, b)
	ping(t, b, a)
	l.Do(func() {
		saved := l.router.Save(time.Now())
		next, _ := relay.New(private, relay.DefaultLimits())
		if err := next.Restore(time.Now(), saved); err != nil {
			t.Fatal(err)
		}
		l.router = next
		if c := next.Counts(); c.Members != 2 || c.Registered != 2 || c.Flows != 2 {
			t.Errorf("%+v", c)
		}
		other, _ := relay.New(relay.Key{1}, relay.DefaultLimits())
		if other.Restore(time.Now(), saved) == nil {
			t.Error("another key was accepted")
		}
		for i := range saved {
			if next, _ := relay.New(private, relay.DefaultLimits()); next.Restore(time.Now(), saved[:i]) == nil {
				t.Errorf("the first %d bytes of %d were accepted", i, len(saved))
			}
		}
	})
	ping(t, a, b)
	ping(t, b, a)
	l.Do(func() {
		if c := l.router.Counts(); c.Registrations != 0 || c.Nudges != 0 || c.Packets == 0 {
			t.Errorf("a session was not kept: %+v", c)
		}
	})
}

// TestAKilledRelayKnowsItsMembers restores what was saved while it ran: no session, and who may have one.
func TestAKilledRelayKnowsItsMembers(t *testing.T) {
	private, _ := newKey(t)
	l := newLab(t)
	l.router, _ = relay.New(private, relay.DefaultLimits())
	a, b := pair(t, l)
	ping(t, a, b)
	l.Do(func() {
		now := time.Now()
		saved := l.router.SaveMembers(now)
		next, _ := relay.New(private, relay.DefaultLimits())
		if err := next.Restore(now, saved); err != nil {
			t.Fatal(err)
		}
		if len(saved) >= len(l.router.Save(now)) {
			t.Error("it has the sessions")
		}
		l.router = next
		if c := next.Counts(); c.Members != 2 || c.Registered != 0 || c.Flows != 0 {
			t.Errorf("%+v", c)
		}
	})
	// What nudges bring about.
	for _, m := range []*machine{a, b} {
		m.Remove(t, l.router.PublicKey())
		l.register(t, m)
	}
	l.await(t, "register", bothRegistered)
}
