package path_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/path"
)

// met returns two machines behind boxes of two kinds that have a path.
func met(t *testing.T, one, other kind) (w *world, a, b *host) {
	t.Helper()
	w = newWorld(t, 7)
	a, b = home(w, one, 1), home(w, other, 2)
	meet(a, b, 100*time.Millisecond)
	if w.until(5*time.Second, connected(a, b)) < 0 {
		t.Fatal("no path")
	}
	w.run(time.Minute)
	return w, a, b
}

// again has two machines find a path once more, which their NATs' new tables have shown.
func again(t *testing.T, a, b *host, within time.Duration) {
	t.Helper()
	start := a.w.now
	took := a.w.until(within, func() bool {
		return connected(a, b)() && a.fresh[a.path(b)].After(start) && b.fresh[b.path(a)].After(start)
	})
	if took < 0 {
		t.Errorf("no path: %+v and %+v", a.prober.Report(b.self.Public), b.prober.Report(a.self.Public))
	}
	t.Logf("a path after %v", took)
}

// TestChanges changes what two machines with a path are behind.
func TestChanges(t *testing.T) {
	pairs := [][2]kind{{router, router}, {full, symmetric}, {symmetric, full}, {port, linux}, {linux, port}, {port, port}, {open, linux}, {open, open}, {firewall, firewall}}
	tests := []struct {
		name   string
		change func(a, b *host)
		within time.Duration
	}{
		{"the NAT restarts, and servers show the new port", func(a, b *host) {
			if a.net.gateway != nil {
				a.net.gateway.reboot()
			}
			a.w.at(3*time.Second, func() { meet(a, b, 100*time.Millisecond) })
		}, 15 * time.Second},
		{"the agent restarts", func(a, b *host) {
			a.start()
			meet(a, b, 100*time.Millisecond)
		}, 11 * time.Second},
		{"the machine moves to another network", func(a, b *host) {
			a.move(a.w.behind(a.w.internet, full, "203.0.113.3").inner, "192.168.3.5")
			meet(a, b, 100*time.Millisecond)
		}, 5 * time.Second},
		{"the machine moves to the peer's network", func(a, b *host) {
			if b.addresses[0].IsPrivate() {
				a.move(b.net, "192.168.2.9")
			} else {
				a.move(b.net, "203.0.113.9")
			}
			meet(a, b, 100*time.Millisecond)
		}, 5 * time.Second},
	}
	for _, pair := range pairs {
		for _, test := range tests {
			t.Run(string(pair[0])+" and "+string(pair[1])+", "+test.name, func(t *testing.T) {
				w, a, b := met(t, pair[0], pair[1])
				within := test.within
				if pair[0] == open {
					within = 3 * time.Minute // the peer's pings may spoil the router before it has a table
				}
				test.change(a, b)
				w.run(time.Millisecond)
				again(t, a, b, within)
			})
		}
	}
}

// TestDeadPath cuts the internet: both ends give the path up in 40 seconds, and find it again after.
func TestDeadPath(t *testing.T) {
	w, a, b := met(t, port, linux)
	w.cut = true
	none := func() bool { return !a.path(b).IsValid() && !b.path(a).IsValid() }
	if took := w.until(40*time.Second+latency, none); took < 20*time.Second {
		t.Errorf("the path is given up after %v", took)
	}
	w.run(time.Minute)
	w.cut = false
	again(t, a, b, 2*time.Minute)
}

// TestLateNews has the second machine hear so late that the first one's pings have spoiled its router: a
// silence later, both begin at once by their clocks.
func TestLateNews(t *testing.T) {
	for _, pair := range [][2]kind{{linux, open}, {open, open}} {
		for _, late := range []time.Duration{1500 * time.Millisecond, 4 * time.Second, 20 * time.Second} {
			for _, clock := range []time.Duration{-700 * time.Millisecond, 0, 700 * time.Millisecond} {
				w := newWorld(t, 1)
				a, b := home(w, pair[0], 1), home(w, pair[1], 2)
				b.clock = clock
				meet(a, b, late)
				if took := w.until(3*time.Minute, connected(a, b)); took < 0 {
					t.Errorf("%v: no path with news after %v and clocks that differ by %v", pair, late, clock)
				} else if took < silence {
					t.Errorf("%v: a path after %v: the router was not spoiled", pair, took)
				}
			}
		}
	}
}

const silence = 35 * time.Second

// TestChaos plants faults at random, and has a stranger send what it has recorded, changed and unchanged.
// At all times, paths are those that the test itself has seen answer in the last 40 seconds (see check).
// After that, pairs that can meet do.
func TestChaos(t *testing.T) {
	kinds := []kind{router, full, address, firewall, port, linux, open, symmetric, blocked}
	runs := 100
	if testing.Short() {
		runs = 10
	}
	paths := 0
	for seed := range runs {
		w := newWorld(t, uint64(seed))
		one, other := kinds[w.rng.IntN(len(kinds))], kinds[w.rng.IntN(len(kinds))]
		a, b := home(w, one, 1), home(w, other, 2)
		w.record = true
		w.loss, w.copies = w.rng.Float64()/2, w.rng.Float64()/4
		w.jitter = time.Duration(w.rng.Int64N(int64(3 * time.Second)))
		for range 40 {
			fault(w, a, b)
			w.run(time.Duration(w.rng.Int64N(int64(20 * time.Second))))
			if connected(a, b)() {
				paths++
			}
		}
		w.loss, w.copies, w.jitter, w.cut = 0, 0, 0, false
		meet(a, b, 100*time.Millisecond)
		if took := w.until(7*time.Minute, connected(a, b)); took < 0 && canMeet(one, other) {
			t.Errorf("seed %d: %s and %s find no path: %+v and %+v", seed, one, other, a.prober.Report(b.self.Public), b.prober.Report(a.self.Public))
		} else if took >= 0 && !canMeet(one, other) {
			t.Errorf("seed %d: %s and %s find a path", seed, one, other)
		}
	}
	if paths < runs {
		t.Errorf("only %d times was there a path amid faults", paths)
	}
}

// fault changes something at random.
func fault(w *world, a, b *host) {
	if w.rng.IntN(2) == 0 {
		a, b = b, a
	}
	switch w.rng.IntN(6) {
	case 0:
		if a.net.gateway != nil {
			a.net.gateway.reboot()
		}
	case 1:
		a.start()
	case 2:
		w.cut = !w.cut
	case 3:
		meet(a, b, time.Duration(w.rng.Int64N(int64(3*time.Second))))
	case 4:
		a.self.Network++
		a.step()
	default:
		for range 20 {
			stranger(w)
		}
	}
}

// stranger sends a packet that it has recorded, as it was or changed, from where it came or another place.
func stranger(w *world) {
	if len(w.wire) == 0 {
		return
	}
	p := w.wire[w.rng.IntN(len(w.wire))]
	if w.rng.IntN(2) == 0 {
		p.src = netip.MustParseAddrPort("198.51.100.66:66")
	}
	if w.rng.IntN(2) == 0 {
		changed := [path.Size]byte(p.data)
		changed[w.rng.IntN(path.Size)] ^= byte(1 + w.rng.IntN(255))
		p.data, p.genuine = changed[:], false
	}
	p.ttl = 64
	w.cross(w.internet.devices[p.dst.Addr()], p)
}

// canMeet reports whether the grid has a D for two kinds.
func canMeet(one, other kind) bool {
	easy := func(k kind) bool { return k == router || k == full || k == address }
	switch {
	case one == blocked || other == blocked:
		return false
	case one == symmetric:
		return easy(other)
	case other == symmetric:
		return easy(one)
	}
	return true
}
