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
