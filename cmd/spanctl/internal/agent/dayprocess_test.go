package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/relayprocess"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/tunnels"
	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/latest"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/portmap"
)

// TestADayOfPortMappings has a router that refuses at times. In the end it is asked whether it has the mapping
// each two minutes, and to renew it.
func TestADayOfPortMappings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what f has
		f := newFakeRouter()
		p := f.mapper(slog.New(slog.DiscardHandler))
		ask := p.ask
		p.ask = func(ctx context.Context, mark uint32, call *portmap.Call) (portmap.Answer, error) {
			mu.Lock()
			defer mu.Unlock()
			return ask(ctx, mark, call)
		}
		p.report = func([]mesh.PortMapping, []mesh.PortMappingFault) {}
		p.save = func(m statedir.PortMappings) error {
			mu.Lock()
			defer mu.Unlock()
			f.stored = m
			return nil
		}
		refuse := func(is bool) {
			mu.Lock()
			defer mu.Unlock()
			f.refuses = is
		}
		turns := loopTurns{turn: mappingTurn(51820), give: p.turns.after(nil)}
		aDay(t, []func(context.Context){p.run, turns.run}, func(n int) {
			time.Sleep(5 * time.Minute)
			refuse(true)
			turns.change(func(turn *reconciler.Turn) { turn.NetworkChanges++ })
			time.Sleep(20 * time.Minute)
			refuse(false)
			turns.change(func(turn *reconciler.Turn) { turn.NetworkChanges++ })
			time.Sleep(10 * time.Minute)
			turns.change(func(turn *reconciler.Turn) { turn.Mesh.Port = 51821 + n })
		}, func(n int) {
			mu.Lock()
			defer mu.Unlock()
			port := uint16(51821 + min(n, busyHours-1))
			if len(f.stored.Held) != 1 || f.stored.Held[0].Port != port || time.Until(f.stored.Held[0].Until) < 10*time.Minute {
				t.Errorf("after hour %d, it has stored %+v", n, f.stored)
			}
		}, func(begun bool) {
			mu.Lock()
			defer mu.Unlock()
			if asked := f.take(); !begun {
				between(t, "requests in quiet hours", int64(len(asked)), quietHours*29, quietHours*35)
			}
		})
	})
}

// countedTunnels has the tunnels that it is asked for.
type countedTunnels struct {
	tunneler *tunneler
	kept     atomic.Int64
	// failures is the most that the tunneler has kept of them.
	failures atomic.Int64
}

func (c *countedTunnels) Keep(_ context.Context, all []tunnels.Tunnel, _ map[mesh.Key]netip.AddrPort) (found []tunnels.Status, err error) {
	c.kept.Add(1)
	c.failures.Store(max(c.failures.Load(), int64(len(c.tunneler.failures))))
	for i, t := range all {
		s := tunnels.Status{Relay: t.Relay, Endpoint: tunnelAt}
		if i > 0 {
			s = tunnels.Status{Relay: t.Relay, Failure: "refused"}
		}
		found = append(found, s)
	}
	return found, nil
}

// TestADayOfTunnels has other relays over TCP each hour, of which one fails. In the end it is looked each five seconds
// whether the process is there, and nothing is kept of relays that are not used.
func TestADayOfTunnels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &countedTunnels{}
		var reports, endpoints atomic.Int64
		c.tunneler = &tunneler{process: c, log: slog.New(slog.DiscardHandler), turns: newLastTurn(), failures: map[mesh.Key]string{},
			report: func(all map[mesh.Key]netip.AddrPort) { reports.Add(1); endpoints.Store(int64(len(all))) }}
		turns := loopTurns{turn: outsideTurn(51820, 32), give: c.tunneler.turns.after(nil)}
		aDay(t, []func(context.Context){c.tunneler.run, turns.run}, func(hour int) {
			for i := range 3 {
				turns.change(func(turn *reconciler.Turn) {
					turn.OverTCP = []mesh.BlindRelay{{Key: mesh.Key{byte(hour), byte(i)}, URL: "https://relay.example/relay"}, {Key: mesh.Key{byte(hour), 100}, URL: "https://relay.example/relay"}}
				})
				time.Sleep(10 * time.Minute)
			}
		}, func(hour int) {
			if failures, n := c.failures.Load(), endpoints.Load(); failures > 2 || n != 1 {
				t.Errorf("after hour %d, it has kept %d failures and %d endpoints", hour, failures, n)
			}
		}, func(begun bool) {
			kept, reported := c.kept.Swap(0), reports.Swap(0)
			if !begun {
				between(t, "looks in quiet hours", kept, quietHours*720-1, quietHours*720+1)
				between(t, "reports in quiet hours", reported, 0, 0)
			}
		})
	})
}

// TestADayOfPathMTUs has ways that change each hour. In the end each of the last is measured about each five minutes.
func TestADayOfPathMTUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var measured atomic.Int64
		var current atomic.Int64
		m := &pathMTUs{queue: latest.New[reconciler.Path, pathCheck](), log: slog.New(slog.DiscardHandler),
			measure: func(context.Context, reconciler.Path) (echo.PathMTU, error) {
				measured.Add(1)
				return echo.PathMTU{Answers: true, Full: 1420, Passes: 1420}, nil
			},
			report: func(_ context.Context, p reconciler.Path, _, _ int) (bool, error) {
				return int64(p.MTU) == current.Load(), nil
			},
			later: func() time.Duration {
				return pauseOf(reconciler.Turn{Config: outsideTurn(51820, 32).Config})
			}}
		const peers = 10
		aDay(t, []func(context.Context){m.run}, func(n int) {
			for i := range 4 {
				current.Store(int64(1000 + 4*n + i))
				for p := range peers {
					m.add(reconciler.Path{Peer: mesh.Key{byte(p)}, MTU: int(current.Load())})
				}
				time.Sleep(10 * time.Minute)
			}
		}, func(n int) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if len(m.timers) != peers {
				t.Errorf("after hour %d, %d ways are to be measured again, want %d", n, len(m.timers), peers)
			}
		}, func(begun bool) {
			if n := measured.Swap(0); !begun {
				between(t, "measurements in quiet hours", n, peers*quietHours*10, peers*quietHours*15)
			}
		})
	})
}

// lockedRelay is a fakeRelay that another goroutine may change.
type lockedRelay struct {
	mu sync.Mutex
	fakeRelay
	host *relayHost
	asks int
	// silent is the relayHost.silent of the last request, and admitted for how many members it was admitted then.
	silent, admitted int
}

func (l *lockedRelay) Ask(ctx context.Context, admit *relayprocess.Admission) (relayprocess.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks, l.silent, l.admitted = l.asks+1, l.host.silent, len(l.host.admitted.Members)
	return l.fakeRelay.Ask(ctx, admit)
}

func (l *lockedRelay) Start(ctx context.Context, port uint16, mark uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fakeRelay.Start(ctx, port, mark)
}

func (l *lockedRelay) End(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fakeRelay.End(ctx)
}

func (l *lockedRelay) change(do func(*fakeRelay)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(&l.fakeRelay)
}

// TestADayOfARelay has the process of the relay end by itself, or leave requests without an answer, and its members
// change. In the end it is asked each second, besides the turns, and told nothing.
func TestADayOfARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &lockedRelay{fakeRelay: fakeRelay{pid: 10}}
		var faults atomic.Int64
		f.host = &relayHost{relay: f, log: slog.New(slog.DiscardHandler), turns: newLastTurn(), serves: func(health.OfferedRelay) {}, report: func(reconciler.Offer) {},
			stand: func(found ...condition.Condition) { faults.Add(int64(len(found))) }}
		turns := loopTurns{turn: relayTurn(51821), give: f.host.turns.after(nil)}
		aDay(t, []func(context.Context){f.host.run, turns.run}, func(n int) {
			turns.change(func(turn *reconciler.Turn) { *turn = relayTurn(51821, mesh.Key{byte(n)}) })
			time.Sleep(10 * time.Minute)
			f.change(func(f *fakeRelay) { f.state.PID = 0 })
			time.Sleep(10 * time.Minute)
			f.change(func(f *fakeRelay) { f.hangs = true })
		}, func(n int) {
			f.change(func(r *fakeRelay) {
				if r.state.PID == 0 || f.silent != 0 || f.admitted != 1 {
					t.Errorf("after hour %d, the process is %d, with %d members, silent for %d requests", n, r.state.PID, f.admitted, f.silent)
				}
			})
		}, func(begun bool) {
			f.change(func(r *fakeRelay) {
				did, asks := strings.Join(r.did, ", "), f.asks
				if r.did, f.asks = nil, 0; begun {
					return
				}
				if did != "" || faults.Load() > 0 {
					t.Errorf("in quiet hours: %s; %d faults", did, faults.Load())
				}
				between(t, "requests in quiet hours", int64(asks), quietHours*3600*3/2-2, quietHours*3600*3/2+2)
			})
		})
	})
}
