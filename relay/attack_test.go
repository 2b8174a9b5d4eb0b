package relay_test

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/internal/wgtest"
)

// forged is an initiation with a right mac1, as whoever knows a public key can make it.
func forged(to relay.Key, index uint32) []byte {
	m := make([]byte, 148)
	rand.Read(m)
	copy(m, []byte{1, 0, 0, 0})
	binary.LittleEndian.PutUint32(m[4:], index)
	key := blake2s.Sum256(append([]byte("mac1----"), to[:]...))
	h, _ := blake2s.New128(key[:])
	h.Write(m[:116])
	h.Sum(m[:116])
	clear(m[132:])
	return m
}

var attacker = netip.MustParseAddrPort("203.0.113.66:66")

// TestCapturedPacketsMoveNothing sends all that the relay has had again, from elsewhere.
func TestCapturedPacketsMoveNothing(t *testing.T) {
	l := newLab(t)
	var captured [][]byte
	l.Do(func() {
		route := l.Route
		l.Route = func(from, to netip.AddrPort, p []byte) []wgtest.Packet {
			captured = append(captured, slices.Clone(p))
			return route(from, to, p)
		}
	})
	a, b := pair(t, l)
	ping(t, a, b)
	l.Do(func() {
		before := l.router.Counts()
		for _, p := range captured {
			for _, out := range l.router.Handle(time.Now(), relay.Source{Addr: attacker}, p) {
				if p[0] == 4 && out.To.Addr != attacker {
					t.Errorf("data of an attacker went to %v", out.To.Addr)
				}
			}
		}
		if after := l.router.Counts(); after.Moves != before.Moves || after.Registrations != before.Registrations {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
	ping(t, a, b)
	ping(t, b, a)
}

func TestAFloodTakesBoundedMemory(t *testing.T) {
	l := newLab(t)
	a, b := pair(t, l)
	limits := relay.DefaultLimits()
	now := time.Now()
	l.Do(func() {
		for i := range 200_000 {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 9)
			now = now.Add(10 * time.Microsecond)
			l.router.Handle(now, relay.Source{Addr: from}, forged(a.public, uint32(i)))
		}
		c := l.router.Counts()
		if c.Unregistered > limits.FlowsPerSource/16 || c.Flows > limits.FlowsPerSource {
			t.Errorf("%+v", c)
		}
		// All is forgotten when it is over.
		for range 100 {
			now = l.router.Expire(now)
		}
		if c := l.router.Counts(); c.Unregistered != 0 || c.Flows != 0 {
			t.Errorf("after it %+v", c)
		}
	})
	_ = b
}

// TestForgedInitiationsKeepNobodyOut floods the relay with initiations, while a machine that does not
// register looks for a member. A second has 20 looks through all keys.
func TestForgedInitiationsKeepNobodyOut(t *testing.T) {
	const rate = 20
	for _, test := range []struct {
		name string
		// perSecond is how many forged initiations come from each of some networks.
		perSecond, networks int
		// completed is set where the machine has met the member before.
		completed bool
		// tries is how many of the machine's initiations may be lost, one every 5 seconds.
		tries int
	}{
		{"from one address", rate, 1, false, 1},
		{"from one address, a thousand a second", 1000, 1, false, 1},
		{"from a few addresses", rate, 4, false, 1},
		{"from forged addresses, for a machine that was there before", 1, 500, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			talos := l.machine(t, "198.51.100.3:3000", "10.0.0.3")
			a := l.machine(t, "198.51.100.1:1000", "10.0.0.1")
			private, _ := newKey(t)
			limits := relay.DefaultLimits()
			limits.UnregisteredTrials = rate * 100
			l.Do(func() { l.router, _ = relay.New(private, limits) })
			for i := range 99 {
				l.join(t, "others", relay.Key{1, byte(i)})
			}
			l.join(t, "c", a.public, talos.public)
			l.register(t, a)
			a.knows(t, talos, relayAt)
			l.await(t, "register", func(c relay.Counts) bool { return c.Registered == 1 })
			if test.completed {
				talos.knows(t, a, relayAt)
				ping(t, talos, a)
			}
			l.Do(func() {
				// It has been away for longer than its flows last.
				now := time.Now().Add(5 * time.Minute)
				for range 100 {
					now = l.router.Expire(now)
				}
				lost := flooded(l, now, test.perSecond, test.networks, a.public)
				if lost >= test.tries {
					t.Errorf("%d initiations in a row were lost: %+v", lost, l.router.Counts())
				}
			})
		})
	}
}

// flooded floods for a minute, and then has a machine call a member until that is reached. It returns how
// many of its initiations were lost.
func flooded(l *lab, now time.Time, perSecond, networks int, member relay.Key) (lost int) {
	machine := relay.Source{Addr: netip.MustParseAddrPort("198.51.100.3:3000")}
	all := perSecond * networks
	flood := func(seconds int) {
		for i := range seconds * all {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i % networks >> 8), byte(i % networks)}), uint16(1+i))
			now = now.Add(time.Second / time.Duration(all))
			l.router.Handle(now, relay.Source{Addr: from}, forged(relay.Key{7}, uint32(i)))
		}
	}
	for flood(60); lost < 20; lost++ {
		before := l.router.Counts().Scans
		l.router.Handle(now, machine, forged(member, uint32(lost)))
		if l.router.Counts().Scans > before {
			return lost
		}
		flood(5)
	}
	return lost
}

// TestStrangersLeaveRoom fills the table of a member with initiations that nobody has made, and has room
// for who has completed a handshake.
func TestStrangersLeaveRoom(t *testing.T) {
	l := newLab(t)
	a, talos := l.machine(t, "198.51.100.1:1000", "10.0.0.1"), l.machine(t, "198.51.100.3:3000", "10.0.0.3")
	l.join(t, "c", a.public, talos.public)
	l.register(t, a)
	a.knows(t, talos, relayAt)
	talos.knows(t, a, relayAt)
	l.await(t, "register", func(c relay.Counts) bool { return c.Registered == 1 })
	ping(t, talos, a)
	l.Do(func() {
		now := time.Now()
		handle := func(from string, index uint32) int {
			now = now.Add(5 * time.Millisecond)
			return len(l.router.Handle(now, relay.Source{Addr: netip.MustParseAddrPort(from)}, forged(a.public, index)))
		}
		forwarded := 0
		for i := range uint32(1000) {
			forwarded += handle(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 9).String(), i)
		}
		if limit := relay.DefaultLimits().FlowsPerSource / 32; forwarded != limit-1 {
			t.Errorf("%d of strangers were forwarded, and the limit is %d", forwarded, limit)
		}
		// The same machine, behind another port of its NAT.
		if handle("198.51.100.3:4000", 5000) != 1 {
			t.Errorf("the machine is kept out: %+v", l.router.Counts())
		}
	})
}

func TestHandshakesBeyondARateNeedACookie(t *testing.T) {
	private, public := newKey(t)
	limits := relay.DefaultLimits()
	r, _ := relay.New(private, limits)
	now := time.Now()
	cookies := 0
	for i := range 2 * limits.Handshakes {
		out := r.Handle(now, relay.Source{Addr: attacker}, forged(public, uint32(i)))
		if len(out) == 1 && out[0].Data[0] == 3 && len(out[0].Data) == 64 {
			cookies++
		}
	}
	if cookies != limits.Handshakes {
		t.Errorf("%d cookies", cookies)
	}
}

func TestJoinIsBounded(t *testing.T) {
	private, _ := newKey(t)
	limits := relay.DefaultLimits()
	limits.MembersPerAddress = 3
	r, _ := relay.New(private, limits)
	refused := 0
	for i := range 10 {
		from := netip.MustParseAddr("2001:db8::1")
		for range i {
			from = from.Next()
		}
		if r.Join(time.Now(), "c", relay.Key{byte(i + 1)}, from, nil) != nil {
			refused++
		}
	}
	if refused != 7 || r.Counts().Members != 3 {
		t.Errorf("%d refused, %+v", refused, r.Counts())
	}
	r.Expire(time.Now().Add(2 * relay.JoinFor))
	if c := r.Counts(); c.Members != 0 {
		t.Errorf("%+v", c)
	}
}

func FuzzHandle(f *testing.F) {
	f.Add([]byte{4, 0, 0, 0}, uint16(1))
	private, public := newKey(f)
	_, member := newKey(f)
	f.Add(forged(public, 1), uint16(1))
	f.Add(forged(member, 1), uint16(2))
	f.Add(check(1), uint16(3))
	f.Fuzz(func(t *testing.T, p []byte, port uint16) {
		r, _ := relay.New(private, relay.DefaultLimits())
		if err := r.Join(time.Now(), "c", member, attacker.Addr(), nil); err != nil {
			t.Fatal(err)
		}
		from := relay.Source{Addr: netip.AddrPortFrom(attacker.Addr(), port)}
		out := r.Handle(time.Now(), from, p)
		if len(out) > 1 || len(out) == 1 && len(out[0].Data) > len(p) {
			t.Fatalf("%d bytes were answered with more", len(p))
		}
	})
}

func FuzzRestore(f *testing.F) {
	private, _ := newKey(f)
	_, member := newKey(f)
	r, _ := relay.New(private, relay.DefaultLimits())
	if err := r.Join(time.Now(), "c", member, attacker.Addr(), []relay.Key{{7}}); err != nil {
		f.Fatal(err)
	}
	f.Add(r.Save(time.Now()))
	f.Fuzz(func(t *testing.T, saved []byte) {
		r, _ := relay.New(private, relay.DefaultLimits())
		if r.Restore(time.Now(), saved) == nil {
			r.Expire(time.Now())
			r.Save(time.Now())
		}
	})
}
