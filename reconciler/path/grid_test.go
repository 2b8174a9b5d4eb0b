package path_test

import (
	"fmt"
	"testing"
	"time"
)

// home puts a machine behind a box that is attached to the internet.
func home(w *world, k kind, i int) *host {
	public, private := fmt.Sprintf("203.0.113.%d", i), fmt.Sprintf("192.168.%d.5", i)
	switch k {
	case router:
		return w.add(w.internet, public)
	case firewall, blocked:
		return w.add(w.behind(w.internet, k, "").inner, public)
	default:
		return w.add(w.behind(w.internet, k, public).inner, private)
	}
}

// TestGrid is the table of which kinds of NAT meet: D for directly, R by a relay, T by a relay over TCP.
// The second machine hears of the first one at the same time or later.
func TestGrid(t *testing.T) {
	kinds := []kind{router, full, address, firewall, port, linux, open, symmetric, blocked}
	grid := []string{
		"DDDDDDDDT", // router: no NAT
		".DDDDDDDT", // full
		"..DDDDDDT", // address
		"...DDDDRT", // firewall
		"....DDDRT", // port
		".....DDRT", // linux
		"......DRT", // open
		".......RT", // symmetric
		"........T", // blocked
	}
	for i, one := range kinds {
		for j, other := range kinds {
			want := grid[min(i, j)][max(i, j)]
			for _, skew := range []time.Duration{0, 100 * time.Millisecond, 900 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s and %s after %v", one, other, skew), func(t *testing.T) {
					w := newWorld(t, uint64(10*i+j))
					a, b := home(w, one, 1), home(w, other, 2)
					meet(a, b, skew)
					expect(t, a, b, want == 'D')
				})
			}
		}
	}
}

// expect has two machines find a path within 5 seconds, and keep it, or find none.
func expect(t *testing.T, a, b *host, direct bool) {
	t.Helper()
	if !direct {
		if took := a.w.until(15*time.Minute, func() bool { return a.path(b).IsValid() || b.path(a).IsValid() }); took >= 0 {
			t.Errorf("a path after %v: %v and %v", took, a.path(b), b.path(a))
		}
		return
	}
	took := a.w.until(5*time.Second, connected(a, b))
	if took < 0 {
		t.Fatalf("no path: %+v and %+v", a.prober.Report(b.self.Public), b.prober.Report(a.self.Public))
	}
	t.Logf("a path after %v: %v and %v", took, a.path(b), b.path(a))
	a.w.run(2 * time.Second) // the better of several
	kept := a.path(b)
	if back := b.path(a); kept.Addr().Is4() != back.Addr().Is4() || kept.Addr().IsPrivate() != back.Addr().IsPrivate() {
		t.Errorf("both use different paths: %v and %v", kept, back)
	}
	if lost := a.w.until(5*time.Minute, func() bool { return a.path(b) != kept || !b.path(a).IsValid() }); lost >= 0 {
		t.Errorf("the path is lost or changes after %v: %v, %v, was %v", lost, a.path(b), b.path(a), kept)
	}
}

// TestPlaces has machines at places that are more than one NAT.
func TestPlaces(t *testing.T) {
	sameNAT := func(k kind, hairpin bool) func(w *world) (a, b *host) {
		return func(w *world) (a, b *host) {
			n := w.behind(w.internet, k, "203.0.113.1")
			n.hairpin = hairpin
			return w.add(n.inner, "192.168.1.5"), w.add(n.inner, "192.168.1.6")
		}
	}
	homes := func(carrier kind, hairpin bool, one, other kind) func(w *world) (a, b *host) {
		return func(w *world) (a, b *host) {
			n := w.behind(w.internet, carrier, "203.0.113.1")
			n.hairpin = hairpin
			return w.add(w.behind(n.inner, one, "100.64.0.1").inner, "192.168.1.5"),
				w.add(w.behind(n.inner, other, "100.64.0.2").inner, "192.168.2.5")
		}
	}
	double := func(carrier, inner, other kind) func(w *world) (a, b *host) {
		return func(w *world) (a, b *host) {
			n := w.behind(w.internet, carrier, "203.0.113.1")
			return w.add(w.behind(n.inner, inner, "100.64.0.1").inner, "192.168.1.5"), home(w, other, 2)
		}
	}
	six := func(one, other kind) func(w *world) (a, b *host) {
		return func(w *world) (a, b *host) {
			return w.add(w.behind(w.internet, one, "").inner, "2001:db8:1::5"), w.add(w.behind(w.internet, other, "").inner, "2001:db8:2::5")
		}
	}
	tests := []struct {
		name   string
		make   func(w *world) (a, b *host)
		direct bool
	}{
		{"the same NAT with hairpin", sameNAT(port, true), true},
		{"the same NAT without hairpin", sameNAT(port, false), true},
		{"the same Linux router", sameNAT(linux, false), true},
		{"the same symmetric NAT", sameNAT(symmetric, false), true},
		{"two homes of a carrier's NAT with hairpin", homes(port, true, port, linux), true},
		{"two open homes of a carrier's NAT with hairpin", homes(full, true, open, open), true},
		{"two homes of a carrier's NAT without hairpin", homes(port, false, port, linux), false},
		{"a double NAT and a port-restricted one", double(port, linux, port), true},
		{"a double NAT and an open Linux router", double(linux, open, open), true},
		{"a double NAT and a symmetric one", double(port, linux, symmetric), false},
		{"a symmetric NAT of a carrier and a full cone", double(symmetric, linux, full), true},
		{"IPv6 without firewalls", six(router, router), true},
		{"IPv6 with firewalls", six(firewall, firewall), true},
		{"IPv6 blocked", six(firewall, blocked), false},
		{"IPv6 besides symmetric NATs", func(w *world) (a, b *host) {
			return w.add(w.behind(w.internet, symmetric, "203.0.113.1").inner, "192.168.1.5", "2001:db8:1::5"),
				w.add(w.behind(w.internet, symmetric, "203.0.113.2").inner, "192.168.2.5", "2001:db8:2::5")
		}, true},
		{"IPv6 besides full cones", func(w *world) (a, b *host) {
			return w.add(w.behind(w.internet, full, "203.0.113.1").inner, "192.168.1.5", "2001:db8:1::5"),
				w.add(w.behind(w.internet, full, "203.0.113.2").inner, "192.168.2.5", "2001:db8:2::5")
		}, true},
		{"IPv6 besides a private network", func(w *world) (a, b *host) {
			n := w.behind(w.internet, full, "203.0.113.1")
			n.hairpin = true
			return w.add(n.inner, "192.168.1.5", "2001:db8:1::5"), w.add(n.inner, "192.168.1.6", "2001:db8:1::6")
		}, true},
		{"IPv6 alone and IPv4 alone", func(w *world) (a, b *host) {
			return w.add(w.behind(w.internet, firewall, "").inner, "2001:db8:1::5"), home(w, full, 2)
		}, false},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, uint64(i))
			a, b := test.make(w)
			meet(a, b, 100*time.Millisecond)
			expect(t, a, b, test.direct)
		})
	}
}

// TestLoss has a third of all packets lost: one round is enough, or the next pings on the path of one end.
func TestLoss(t *testing.T) {
	for seed := range uint64(50) {
		for _, pair := range [][2]kind{{port, port}, {linux, open}, {full, symmetric}, {firewall, firewall}} {
			w := newWorld(t, seed)
			w.loss = 1. / 3
			a, b := home(w, pair[0], 1), home(w, pair[1], 2)
			meet(a, b, 100*time.Millisecond)
			if took := w.until(25*time.Second, connected(a, b)); took < 0 {
				t.Errorf("seed %d: no path between %s and %s", seed, pair[0], pair[1])
			}
		}
	}
}
