package agent

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/tunnels"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// tunnelCheck is how often it is looked whether the process of the tunnels still serves.
const tunnelCheck = 5 * time.Second

// tunnelProcess is tunnels.Process.
type tunnelProcess interface {
	Keep(ctx context.Context, all []tunnels.Tunnel, locals map[mesh.Key]netip.AddrPort) ([]tunnels.Status, error)
}

// tunneler has an endpoint on loopback for each blind relay that is reached over TCP, in a process that
// outlives the agent.
type tunneler struct {
	// report takes what has changed.
	report  func(map[mesh.Key]netip.AddrPort)
	process tunnelProcess
	log     *slog.Logger
	// turns has the last turn of the loop.
	turns lastTurn

	// The fields below belong to run.

	wanted []tunnels.Tunnel
	// known is set once wanted is: until then, the tunnels of an earlier agent stay.
	known     bool
	endpoints map[mesh.Key]netip.AddrPort
	// failures are the last of each relay, and failure that of the process.
	failures map[mesh.Key]string
	failure  string
}

// newTunneler returns a tunneler that has the tunnels of an earlier agent.
func (d *deps) newTunneler(loop *reconciler.Loop) *tunneler {
	return &tunneler{report: loop.SetTunnels, process: d.tunnels, log: d.log, turns: newLastTurn(), endpoints: d.adopted, failures: map[mesh.Key]string{}}
}

// run keeps the tunnels until ctx ends. It leaves them open.
func (t *tunneler) run(ctx context.Context) {
	check := time.NewTicker(tunnelCheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case turn := <-t.turns:
			wanted, known := t.tunnelsOf(&turn)
			if !known || t.known && slices.Equal(wanted, t.wanted) {
				continue
			}
			t.wanted, t.known = wanted, true
			t.forget(turn.OverTCP)
		case <-check.C:
			if len(t.wanted) == 0 && t.failure == "" { // the process has ended
				continue
			}
		}
		t.keep(ctx)
	}
}

// tunnelsOf returns the tunnels that a turn asks for. It is not known before the first pass.
func (t *tunneler) tunnelsOf(turn *reconciler.Turn) (wanted []tunnels.Tunnel, known bool) {
	config := turn.Config
	switch {
	case config == nil:
		return nil, false
	case turn.Down || !config.KubeSpan().Enabled || !config.KubeSpan().Relay.UsesBlind():
		return nil, true
	case turn.Mesh.Link == "":
		return nil, false
	}
	for _, r := range turn.OverTCP {
		proxy, err := tunnels.ProxyOf(r.URL)
		if err != nil {
			t.note(r.Key, r.URL, "the proxy of the environment cannot be used: "+err.Error())
			continue
		}
		wanted = append(wanted, tunnels.Tunnel{Relay: r.Key, URL: r.URL, CA: config.Cluster.Discovery.Registries.Service.CA, Proxy: proxy,
			Port: uint16(turn.Mesh.Port), Mark: config.KubeSpan().FirewallMark})
	}
	return wanted, true
}

// keep has the process have the tunnels that are wanted, and reports where they are.
func (t *tunneler) keep(ctx context.Context) {
	all, err := t.process.Keep(ctx, t.wanted, t.endpoints)
	if ctx.Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != t.failure {
		t.log.Warn("relays not reached over TCP", "error", err)
	}
	if t.failure = text; err != nil && len(all) == 0 {
		return
	}
	endpoints := make(map[mesh.Key]netip.AddrPort, len(all))
	for _, s := range all {
		if s.Endpoint.IsValid() {
			endpoints[s.Relay] = s.Endpoint
		}
		for i := range t.wanted {
			if w := &t.wanted[i]; w.Relay == s.Relay {
				t.note(s.Relay, w.URL, s.Failure)
			}
		}
	}
	if !maps.Equal(endpoints, t.endpoints) {
		t.endpoints = endpoints
		t.report(endpoints)
	}
}

// forget drops the failures of relays that are not to be reached over TCP any more.
func (t *tunneler) forget(relays []mesh.BlindRelay) {
	maps.DeleteFunc(t.failures, func(key mesh.Key, _ string) bool {
		return !slices.ContainsFunc(relays, func(r mesh.BlindRelay) bool { return r.Key == key })
	})
}

// note logs why a relay is not reached, once.
func (t *tunneler) note(relay mesh.Key, url, failure string) {
	if failure != "" && failure != t.failures[relay] {
		t.log.Warn("relay not reached over TCP", "relay", url, "error", failure)
	}
	t.failures[relay] = failure
}

// newTunnelProcess returns the process of the tunnels of the machine's agent.
func (m Machine) newTunnelProcess(dir *statedir.Dir) (*tunnels.Process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return tunnels.At(m.Socket, executable, dir.TunnelsLog(), m.Log), nil
}

// adoptTunnels finds the tunnels of an earlier agent: WireGuard may use them.
func (d *deps) adoptTunnels(ctx context.Context) {
	all, err := d.tunnels.Find(ctx)
	if err != nil {
		d.log.Warn("tunnels to relays over TCP not found", "error", err)
	}
	d.adopted = make(map[mesh.Key]netip.AddrPort, len(all))
	for _, s := range all {
		if s.Endpoint.IsValid() {
			d.adopted[s.Relay] = s.Endpoint
		}
	}
	d.engine.RestoreTunnels(d.adopted)
}
