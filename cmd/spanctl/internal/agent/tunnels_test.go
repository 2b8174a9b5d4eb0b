package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/tunnels"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// fakeTunnels is a process of tunnels.
type fakeTunnels struct {
	kept   chan []tunnels.Tunnel
	locals map[mesh.Key]netip.AddrPort
	// stubborn is how many times it does not end.
	stubborn int
}

var tunnelAt = netip.MustParseAddrPort("127.0.0.1:40000")

func (f *fakeTunnels) Keep(_ context.Context, all []tunnels.Tunnel, locals map[mesh.Key]netip.AddrPort) (found []tunnels.Status, err error) {
	f.locals = maps.Clone(locals)
	for _, t := range all {
		if t.URL == "" {
			found = append(found, tunnels.Status{Relay: t.Relay, Failure: "a tunnel without a URL"})
			continue
		}
		found = append(found, tunnels.Status{Relay: t.Relay, Endpoint: tunnelAt})
	}
	if len(all) == 0 && f.stubborn > 0 {
		f.stubborn--
		err = errors.New("it does not end")
	}
	f.kept <- slices.Clone(all)
	return found, err
}

func TestTunneler(t *testing.T) {
	config := &schema.Config{}
	*config.KubeSpan() = schema.KubeSpan{Enabled: true, FirewallMark: 0x20}
	config.Cluster.Discovery.Registries.Service.CA = "authority"
	f := &fakeTunnels{kept: make(chan []tunnels.Tunnel, 1)}
	reported := make(chan map[mesh.Key]netip.AddrPort, 1)
	n := &tunneler{report: func(m map[mesh.Key]netip.AddrPort) { reported <- m }, process: f, log: slog.New(slog.DiscardHandler),
		turns: newLastTurn(), endpoints: map[mesh.Key]netip.AddrPort{{1}: tunnelAt}, failures: map[mesh.Key]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.run(ctx)
	}()
	turn := func(change func(*reconciler.Turn)) {
		next := reconciler.Turn{Config: config, Mesh: reconciler.Mesh{Link: "kubespan", Port: 51820},
			OverTCP: []mesh.BlindRelay{{Key: mesh.Key{1}, URL: "https://relay.example/relay"}}}
		if change != nil {
			change(&next)
		}
		n.turns.after(nil)(next)
	}
	// Before the first pass, what an earlier agent has left stays.
	turn(func(t *reconciler.Turn) { t.Config = nil })
	turn(func(t *reconciler.Turn) { t.Mesh.Link, t.OverTCP = "", nil })
	turn(nil)
	want := tunnels.Tunnel{Relay: mesh.Key{1}, URL: "https://relay.example/relay", CA: "authority", Port: 51820, Mark: config.KubeSpan().FirewallMark}
	if kept := <-f.kept; len(kept) != 1 || kept[0] != want || f.locals[mesh.Key{1}] != tunnelAt {
		t.Errorf("kept are %+v at %v", kept, f.locals)
	}
	turn(nil) // the same
	turn(func(t *reconciler.Turn) { t.OverTCP[0].Key = mesh.Key{2} })
	if kept := <-f.kept; len(kept) != 1 || kept[0].Relay != (mesh.Key{2}) {
		t.Errorf("of another relay, kept are %+v", kept)
	}
	if m := <-reported; len(m) != 1 || m[mesh.Key{2}] != tunnelAt {
		t.Errorf("reported are %v", m)
	}
	for name, change := range map[string]func(*reconciler.Turn){
		"none is wanted":   func(t *reconciler.Turn) { t.OverTCP = nil },
		"the mesh is down": func(t *reconciler.Turn) { t.Down = true },
		"relays are off": func(t *reconciler.Turn) {
			changed, off := *config, false
			changed.KubeSpan().Relay.Use = &off
			t.Config = &changed
		},
	} {
		turn(change)
		if kept := <-f.kept; len(kept) > 0 {
			t.Errorf("when %s, kept are %+v", name, kept)
		}
		if m := <-reported; len(m) > 0 {
			t.Errorf("when %s, reported are %v", name, m)
		}
		turn(nil)
		<-f.kept
		<-reported
	}
	cancel()
	<-done
}

// TestEndOfTunnelsIsRepeated has a process that does not end at first.
func TestEndOfTunnelsIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTunnels{kept: make(chan []tunnels.Tunnel, 10), stubborn: 1}
		n := &tunneler{report: func(map[mesh.Key]netip.AddrPort) {}, process: f, log: slog.New(slog.DiscardHandler), turns: newLastTurn(), failures: map[mesh.Key]string{}}
		ctx, cancel := context.WithCancel(t.Context())
		go n.run(ctx)
		n.turns.after(nil)(reconciler.Turn{Config: &schema.Config{}, Down: true})
		for _, want := range []int{1, 2, 2} {
			synctest.Wait()
			if got := len(f.kept); got != want {
				t.Errorf("it was ended %d times, want %d", got, want)
			}
			time.Sleep(tunnelCheck)
		}
		cancel()
	})
}

func TestRefusedTunnelHasNoEndpoint(t *testing.T) {
	f := &fakeTunnels{kept: make(chan []tunnels.Tunnel, 1)}
	var reported map[mesh.Key]netip.AddrPort
	n := &tunneler{report: func(m map[mesh.Key]netip.AddrPort) { reported = m }, process: f, log: slog.New(slog.DiscardHandler), failures: map[mesh.Key]string{},
		wanted: []tunnels.Tunnel{{Relay: mesh.Key{1}}, {Relay: mesh.Key{2}, URL: "https://relay.example/relay"}}}
	n.keep(t.Context())
	if len(reported) != 1 || reported[mesh.Key{2}] != tunnelAt || n.failures[mesh.Key{1}] == "" {
		t.Errorf("reported are %v, failures %v", reported, n.failures)
	}
}
