package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/relay/stream"
	"github.com/spanmesh/span/relay/tunnel"
)

// tunneler has an endpoint on loopback for each blind relay, by which WireGuard reaches the relay over
// TCP where UDP is blocked.
type tunneler struct {
	// report takes what has changed.
	report func(map[mesh.Key]netip.AddrPort)
	log    *slog.Logger
	// turns has the last turn of the loop.
	turns lastTurn
	// open are the tunnels that there are, for the goroutine of run.
	open map[tunnelKey]openTunnel
}

// tunnelKey is what a tunnel depends on.
type tunnelKey struct {
	relay   mesh.Key
	url, ca string
	port    uint16
	mark    uint32
}

type openTunnel struct {
	endpoint netip.AddrPort
	stop     context.CancelFunc
}

func newTunneler(loop *reconciler.Loop, log *slog.Logger) *tunneler {
	return &tunneler{report: loop.SetTunnels, log: log, turns: newLastTurn(), open: map[tunnelKey]openTunnel{}}
}

// run keeps the tunnels until ctx ends.
func (t *tunneler) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case turn := <-t.turns:
			t.keep(ctx, &group, turn)
		}
	}
}

// keep opens the tunnels that a turn asks for, and closes the others.
func (t *tunneler) keep(ctx context.Context, group *sync.WaitGroup, turn reconciler.Turn) {
	wanted := map[tunnelKey]bool{}
	for _, r := range turn.Relays {
		if r.URL != "" && turn.Mesh.Link != "" {
			wanted[tunnelKey{r.Key, r.URL, turn.Config.Cluster.Discovery.Registries.Service.CA, uint16(turn.Mesh.Port), turn.Config.KubeSpan().FirewallMark}] = true
		}
	}
	changed := false
	for k, o := range t.open {
		if !wanted[k] {
			o.stop()
			delete(t.open, k)
			changed = true
		}
	}
	for k := range wanted {
		if _, is := t.open[k]; is {
			continue
		}
		opened, err := tunnel.Open(tunnel.Options{Target: k.url, Port: k.port, Log: t.log, Dialer: stream.Dialer{TLS: trusting(k.ca), Dial: markedDialer(k.mark)}})
		if err != nil {
			t.log.Warn("relay not reached by TCP", "relay", k.url, "error", err)
			continue
		}
		own, stop := context.WithCancel(ctx)
		group.Go(func() { opened.Run(own) })
		t.open[k] = openTunnel{opened.Endpoint(), stop}
		changed = true
	}
	if !changed {
		return
	}
	endpoints := make(map[mesh.Key]netip.AddrPort, len(t.open))
	for k, o := range t.open {
		endpoints[k.relay] = o.endpoint
	}
	t.report(endpoints)
}

// trusting returns a configuration of TLS that trusts the authorities in PEM besides those of the
// system.
func trusting(ca string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return config
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM([]byte(ca)) // the client of discovery has refused one without certificates
	config.RootCAs = pool
	return config
}
