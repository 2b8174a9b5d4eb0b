package relay_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/internal/wgtest"
)

// BenchmarkData is a packet of a session between two members.
func BenchmarkData(b *testing.B) {
	l := newLab(b)
	var data []byte
	var from relay.Source
	l.Do(func() {
		route := l.Route
		l.Route = func(at, to netip.AddrPort, p []byte) []wgtest.Packet {
			out := route(at, to, p)
			if len(out) == 1 && p[0] == 4 && &out[0].Data[0] == &p[0] {
				data, from = append([]byte(nil), p...), relay.Source{Addr: at}
			}
			return out
		}
	})
	one, other := pair(b, l)
	ping(b, one, other)
	l.Do(func() {
		now := time.Now()
		b.ReportAllocs()
		for b.Loop() {
			if len(l.router.Handle(now, from, data)) != 1 {
				b.Fatal("not forwarded")
			}
		}
	})
}

// BenchmarkInitiation is one to a member of a mesh of 1000, from a source that is no member's.
func BenchmarkInitiation(b *testing.B) {
	private, _ := newKey(b)
	limits := relay.DefaultLimits()
	limits.UnregisteredTrials, limits.UnregisteredScansPerSecond = 1<<40, 1<<40
	r, _ := relay.New(private, limits)
	now := time.Now()
	for i := range 1000 {
		if err := r.Join(now, "c", relay.Key{1, byte(i), byte(i >> 8)}, attacker.Addr(), nil); err != nil {
			b.Fatal(err)
		}
	}
	m := forged(relay.Key{9}, 1)
	for b.Loop() {
		r.Handle(now, relay.Source{Addr: attacker}, m)
	}
}

// BenchmarkRefusedRegistration is an initiation to the relay that is not authentic: what anybody can
// make it do before it asks for a cookie.
func BenchmarkRefusedRegistration(b *testing.B) {
	private, public := newKey(b)
	limits := relay.DefaultLimits()
	limits.Handshakes = 1 << 40
	r, _ := relay.New(private, limits)
	m := forged(public, 1)
	now := time.Now()
	for b.Loop() {
		r.Handle(now, relay.Source{Addr: attacker}, m)
	}
}
