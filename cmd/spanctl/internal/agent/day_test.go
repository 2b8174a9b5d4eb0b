package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
)

// The hours of a day: in some, things change, and in the last ones nothing does.
const busyHours, quietHours = 18, 6

// aDay runs what runs in an agent for a day. Hour changes something in a busy hour, and is to take less than one;
// check is called at the end of each, and before and after the quiet ones. There are no more
// goroutines than after the first.
func aDay(t *testing.T, run []func(context.Context), hour, check func(n int), quiet func(begun bool)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, f := range run {
		group.Go(func() { f(ctx) })
	}
	start, goroutines := time.Now(), 0
	for n := range busyHours + quietHours {
		switch {
		case n < busyHours:
			hour(n)
		case n == busyHours:
			quiet(true)
		}
		time.Sleep(time.Until(start.Add(time.Duration(n+1) * time.Hour)))
		synctest.Wait()
		check(n)
		now := runtime.NumGoroutine()
		if n == 0 {
			goroutines = now
		}
		if now > goroutines+2 { // the runtime may have one of its own for a while
			t.Errorf("%d goroutines after hour %d, want %d", now, n, goroutines)
		}
	}
	quiet(false)
	stop()
	group.Wait()
}

// between fails the test unless a number is between two others, which it says.
func between(t *testing.T, what string, n, least, most int64) {
	t.Helper()
	t.Logf("%d %s", n, what)
	if n < least || n > most {
		t.Errorf("%d %s, want %d to %d", n, what, least, most)
	}
}

// countedConn counts what is sent.
type countedConn struct {
	sharedConn
	sent *atomic.Int64
}

func (c countedConn) Send(to netip.AddrPort, payload []byte, hops uint8) error {
	c.sent.Add(1)
	return c.sharedConn.Send(to, payload, hops)
}

// TestADayOfPaths has two pathfinders whose peers roam, come and go, while the network between them fails. In
// the end each sends a ping in ten seconds, and answers that of the other.
func TestADayOfPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{at: map[netip.AddrPort]*wireConn{}}
		var sent atomic.Int64
		var found [2]atomic.Pointer[reconciler.Direct]
		at := [2]string{"192.0.2.1:51820", "198.51.100.2:40000"}
		finders := [2]*finder{newFinder(t, w, 1, 2, at[0], at[1]), newFinder(t, w, 2, 1, at[1], at[0])}
		var run []func(context.Context)
		for i, f := range finders {
			f.report = func(d reconciler.Direct) { found[i].Store(&d) }
			open := f.shared.open
			f.shared.open = func(port uint16, mark uint32) (sharedConn, error) {
				c, err := open(port, mark)
				return countedConn{c, &sent}, err
			}
			f.turns.after(nil)(f.turn)
			run = append(run, f.run)
		}
		change := func(f *finder, do func(*reconciler.Turn)) {
			f.turn.Probing.Peers = slices.Clone(f.turn.Probing.Peers)
			do(&f.turn)
			f.turns.after(nil)(f.turn)
			time.Sleep(time.Minute)
		}
		aDay(t, run, func(n int) {
			extra := path.Peer{Key: mesh.SecretKey([mesh.KeySize]byte{byte(10 + n)}).Public(), NAT: mesh.NATIndependent,
				Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 51820)}}
			change(finders[0], func(turn *reconciler.Turn) { turn.Probing.Peers = append(turn.Probing.Peers, extra) })
			w.setCut(true)
			change(finders[1], func(turn *reconciler.Turn) { turn.NetworkChanges++; turn.Probing.Self.Network++ })
			time.Sleep(5 * time.Minute)
			w.setCut(false)
			change(finders[0], func(turn *reconciler.Turn) { turn.Mesh.Link = "" })
			change(finders[0], func(turn *reconciler.Turn) { turn.Mesh.Link = "kubespan" })
			change(finders[0], func(turn *reconciler.Turn) { turn.Probing.Peers = turn.Probing.Peers[:1] })
			change(finders[1], func(turn *reconciler.Turn) { turn.Probing.Peers[0].Up = n%2 == 0 })
		}, func(n int) {
			for i := range found {
				if d := found[i].Load(); len(d.Paths) != 1 || d.Paths[0].Endpoint.String() != at[1-i] || len(d.Why) > 0 {
					t.Errorf("after hour %d, %d has %+v", n, i, d)
				}
			}
		}, func(begun bool) {
			if n := sent.Swap(0); !begun {
				const pings = quietHours * 360
				between(t, "probes in quiet hours", n, 2*pings, 4*pings+20)
			}
		})
	})
}

func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

// loopTurns gives a turn each two seconds, as a loop does.
type loopTurns struct {
	mu   sync.Mutex
	turn reconciler.Turn
	give func(reconciler.Turn)
}

func (l *loopTurns) run(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		l.change(func(*reconciler.Turn) {})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// change gives a turn with a change.
func (l *loopTurns) change(do func(*reconciler.Turn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.turn)
	l.give(l.turn)
}

// stunConn is a share of a port whose servers answer.
type stunConn struct {
	*fakeConn
	answer func(from netip.AddrPort, message []byte) []byte
	sent   *atomic.Int64
	silent *atomic.Bool
}

func (c stunConn) Send(to netip.AddrPort, payload []byte, _ uint8) error {
	c.sent.Add(1)
	c.mu.Lock()
	take := c.take
	c.mu.Unlock()
	if take != nil && !c.silent.Load() {
		take(to, slices.Clone(c.answer(netip.MustParseAddrPort("203.0.113.9:40000"), payload)))
	}
	return nil
}

// TestADayOfSTUN has servers that are silent at times and a network that changes. In the end they are asked each
// 25 seconds, since nothing else keeps the NAT's mapping.
func TestADayOfSTUN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := stun.NewServer(slog.New(slog.DiscardHandler))
		var sent, resolved atomic.Int64
		var silent atomic.Bool
		var found atomic.Pointer[mesh.Outside]
		o := makeOutsider(&outsider{log: slog.New(slog.DiscardHandler), report: func(is mesh.Outside) { found.Store(&is) },
			shared: newSharing(func(uint16, uint32) (sharedConn, error) {
				return stunConn{&fakeConn{closed: make(chan struct{})}, answers.Answerer(), &sent, &silent}, nil
			}, func(error) {}, slog.New(slog.DiscardHandler)),
			resolve: func(context.Context, string) ([]netip.Addr, error) {
				resolved.Add(1)
				return []netip.Addr{netip.MustParseAddr("198.51.100.2")}, nil
			}})
		turns := loopTurns{turn: outsideTurn(51820, 32), give: o.turns.after(nil)}
		aDay(t, []func(context.Context){o.run, turns.run}, func(n int) {
			time.Sleep(10 * time.Minute)
			silent.Store(true)
			turns.change(func(turn *reconciler.Turn) { turn.NetworkChanges++ })
			time.Sleep(20 * time.Minute)
			silent.Store(false)
			time.Sleep(20 * time.Minute)
			turns.change(func(turn *reconciler.Turn) { turn.Mesh.Port = 51821 + n })
		}, func(n int) {
			if is := found.Load(); is == nil || is.IPv4.Address != netip.MustParseAddr("203.0.113.9") {
				t.Errorf("after hour %d, it has found %+v", n, is)
			}
		}, func(begun bool) {
			n, names := sent.Swap(0), resolved.Swap(0)
			if !begun {
				const rounds = quietHours * 3600 / 25
				between(t, "requests in quiet hours", n, 2*rounds-4, 2*rounds+4)
				between(t, "names resolved in quiet hours", names, rounds-2, rounds+2)
			}
		})
	})
}

// TestADayOfSamples has a peer that stays, and one each minute that leaves with it. Of those that have left, some
// are kept.
func TestADayOfSamples(t *testing.T) {
	runner := &sampledRunner{}
	now := machineNow()
	s := &service{runner: runner, samples: newSampler(now)}
	for minute := range 26 * 60 {
		s.samples.turned(after(now, time.Duration(minute)*time.Minute, 0), runner.peersAt(int64(minute)*6000, "db1", fmt.Sprintf("vm%d", minute)))
	}
	all := s.samples.series(after(now, 26*time.Hour, 0), spans[0], func(string, string) bool { return true })
	between(t, "peers with samples", int64(len(all)), 130, 130)
}
