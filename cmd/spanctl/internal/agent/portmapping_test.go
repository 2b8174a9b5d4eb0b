package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/netlinkapply/gateway"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/portmap"
)

// fakeRouter maps ports by NAT-PMP, and has what was asked of it and become of it.
type fakeRouter struct {
	route    gateway.Route
	external netip.AddrPort
	asked    []string
	marks    []uint32
	reports  [][]mesh.PortMapping
	faults   []mesh.PortMappingFault
	refuses  bool
	stored   statedir.PortMappings
}

func newFakeRouter() *fakeRouter {
	return &fakeRouter{route: gateway.Route{Gateway: netip.MustParseAddr("192.168.1.1"), Own: netip.MustParseAddr("192.168.1.5")},
		external: netip.MustParseAddrPort("203.0.113.9:40001")}
}

// mapper returns a mapper in front of the router, with what another one has stored.
func (f *fakeRouter) mapper(log *slog.Logger) *portMapper {
	return makePortMapper(&portMapper{log: log,
		find: func(is4 bool, _ uint32) gateway.Route {
			if !is4 {
				return gateway.Route{}
			}
			return f.route
		},
		ask: func(ctx context.Context, mark uint32, call *portmap.Call) (portmap.Answer, error) {
			f.asked, f.marks = append(f.asked, call.Kind.String()+" "+string(call.Protocol)), append(f.marks, mark)
			if call.Protocol != portmap.NATPMP {
				return portmap.Answer{}, portmap.ErrNoAnswer
			}
			if f.refuses {
				return portmap.Answer{}, errors.New("refused: not authorized")
			}
			return portmap.Answer{External: f.external, Lifetime: time.Hour}, ctx.Err()
		},
		report: func(m []mesh.PortMapping, faults []mesh.PortMappingFault) {
			f.reports, f.faults = append(f.reports, m), faults
		},
		save: func(m statedir.PortMappings) error { f.stored = m; return nil },
	}, time.Now(), f.stored)
}

// take returns what was asked since the last call.
func (f *fakeRouter) take() (asked []string) {
	asked, f.asked = f.asked, nil
	return asked
}

// mappingTurn is a turn of a mesh whose config asks for port mappings.
func mappingTurn(port int) reconciler.Turn {
	turn := outsideTurn(port, 32)
	turn.Config.KubeSpan().NAT.PortMapping = true
	return turn
}

func without(turn reconciler.Turn) reconciler.Turn {
	turn.Config.KubeSpan().NAT.PortMapping = false
	return turn
}

func TestPortMapper(t *testing.T) {
	made := []string{"map PCP", "map NAT-PMP"}
	down, disabled, noLink := mappingTurn(51820), mappingTurn(51820), mappingTurn(51820)
	down.Down, down.Mesh.Link = true, ""
	disabled.Config.KubeSpan().Enabled = false
	noLink.Mesh.Link = ""
	for _, c := range []struct {
		name string
		turn reconciler.Turn
		// asked is what the router is asked for after that turn, and kept is set where the mapping stays.
		asked []string
		kept  bool
	}{
		{"nothing has changed", mappingTurn(51820), nil, true},
		{"the setting is turned off", without(mappingTurn(51820)), []string{"release NAT-PMP"}, false},
		{"the mesh is taken down", down, []string{"release NAT-PMP"}, false},
		{"the mesh is disabled", disabled, []string{"release NAT-PMP"}, false},
		{"the port changes", mappingTurn(51821), append([]string{"release NAT-PMP"}, made...), true},
		{"passes fail", noLink, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeRouter()
				p := f.mapper(slog.New(slog.DiscardHandler))
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { p.run(ctx); close(ended) }()
				for i, turn := range []reconciler.Turn{{}, mappingTurn(51820), c.turn} {
					p.turns <- turn
					synctest.Wait()
					time.Sleep(time.Second)
					want := [][]string{nil, made, c.asked}[i]
					if asked := f.take(); !slices.Equal(asked, want) {
						t.Errorf("after turn %d it asks for %v, want %v", i, asked, want)
					}
				}
				last := f.reports[len(f.reports)-1]
				if c.kept != slices.Equal(last, []mesh.PortMapping{{Endpoint: f.external, Protocol: "NAT-PMP"}}) || c.kept != (len(f.stored.Held) == 1) {
					t.Errorf("it has reported %v and stored %v", f.reports, f.stored.Held)
				}
				if slices.ContainsFunc(f.marks, func(m uint32) bool { return m != 32 }) {
					t.Errorf("the marks are %v", f.marks)
				}
				stop()
				<-ended
				if asked := f.take(); len(asked) > 0 {
					t.Errorf("at its end it asks for %v", asked)
				}
			})
		})
	}
}

// TestPortMapperAfterRestart takes up what the agent before has left, and announces it at once.
func TestPortMapperAfterRestart(t *testing.T) {
	f := newFakeRouter()
	ended, end := context.WithCancel(t.Context())
	end()
	p := f.mapper(slog.New(slog.DiscardHandler))
	p.turn = mappingTurn(51820)
	p.step(ended) // the router has not answered before the agent ends
	nonce := f.stored.Nonce
	if f.take(); nonce == (portmap.Nonce{}) {
		t.Fatal("it has asked with a nonce that it has not stored")
	}
	p = f.mapper(slog.New(slog.DiscardHandler))
	p.turn = mappingTurn(51820)
	p.step(t.Context())
	p.step(t.Context())
	if len(f.take()) != 2 || f.stored.Nonce != nonce || len(f.stored.Held) != 1 {
		t.Fatalf("it has stored %v", f.stored.Held)
	}
	f.reports = nil
	p = f.mapper(slog.New(slog.DiscardHandler))
	if p.step(t.Context()); len(f.asked) > 0 || len(f.reports) > 0 {
		t.Errorf("before the first pass it asks for %v, and reports %v", f.asked, f.reports)
	}
	p.turn = mappingTurn(51820)
	p.step(ended)
	if asked := f.take(); !slices.Equal(asked, []string{"map NAT-PMP"}) || len(f.reports) != 1 || len(f.stored.Held) != 1 {
		t.Errorf("it asks for %v, reports %v and stores %v", asked, f.reports, f.stored.Held)
	}
	p = f.mapper(slog.New(slog.DiscardHandler))
	p.turn, f.reports = without(mappingTurn(51820)), nil
	p.step(t.Context())
	if asked := f.take(); !slices.Equal(asked, []string{"release NAT-PMP"}) || len(f.stored.Held) != 0 || f.stored.Nonce != nonce || len(f.reports) > 0 {
		t.Errorf("turned off meanwhile, it asks for %v, stores %v and reports %v", asked, f.stored.Held, f.reports)
	}
}

// TestPortMapperAsksNobody has machines without a router in front of them.
func TestPortMapperAsksNobody(t *testing.T) {
	for name, change := range map[string]func(*fakeRouter){
		"no default route":      func(f *fakeRouter) { f.route = gateway.Route{} },
		"a public address":      func(f *fakeRouter) { f.route.Own = netip.MustParseAddr("203.0.113.5") },
		"a router in the mesh":  func(f *fakeRouter) { f.route.Gateway = netip.MustParseAddr("fd00::1") },
		"an address of no host": func(f *fakeRouter) { f.route.Own = netip.MustParseAddr("127.0.0.1") },
	} {
		f := newFakeRouter()
		change(f)
		p := f.mapper(slog.New(slog.DiscardHandler))
		p.turn = mappingTurn(51820)
		if next := p.step(t.Context()); len(f.asked) > 0 || !next.IsZero() {
			t.Errorf("%s: it asks for %v, and next at %v", name, f.asked, next)
		}
	}
}

// TestPortMapperLogsNoNonce has every record of a mapping that is made, not stored, and released.
func TestPortMapperLogsNoNonce(t *testing.T) {
	var log strings.Builder
	f := newFakeRouter()
	f.stored.Nonce = portmap.Nonce([]byte("secret-nonce"))
	p := f.mapper(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	p.save = func(statedir.PortMappings) error { return errors.New("the disk is full") }
	for _, turn := range []reconciler.Turn{mappingTurn(51820), mappingTurn(51820), without(mappingTurn(51820))} {
		p.turn = turn
		p.step(t.Context())
	}
	for _, want := range []string{"port mapped by the router", "port mapping ended", "port mappings not written", "port mapping request failed", "203.0.113.9:40001"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "115 101") {
		t.Errorf("the log has the nonce: %s", log.String())
	}
}

// TestPortMapperTellsFaults has a router that refuses, and then maps.
func TestPortMapperTellsFaults(t *testing.T) {
	f := newFakeRouter()
	f.refuses = true
	p := f.mapper(slog.New(slog.DiscardHandler))
	p.turn = mappingTurn(51820)
	for range 3 {
		p.step(t.Context())
	}
	want := []mesh.PortMappingFault{{Router: f.route.Gateway, Refused: true, Text: "PCP: no answer; NAT-PMP: refused: not authorized"}}
	if !slices.Equal(f.faults, want) {
		t.Errorf("it reports %+v, want %+v", f.faults, want)
	}
	f.refuses = false
	p.turn.NetworkChanges++
	for range 3 {
		p.step(t.Context())
	}
	if len(f.faults) > 0 || len(p.reported) != 1 {
		t.Errorf("it reports %+v and %+v", f.faults, p.reported)
	}
}
