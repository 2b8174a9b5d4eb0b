package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/schema"
)

// What a client of the metrics may take. It has no password, so it gets little.
const (
	// maxScrapers is how many connections are open at a time. Others wait.
	maxScrapers = 16
	// maxScrapeHeader bounds the header of a request, in bytes.
	maxScrapeHeader = 8 << 10
	// scrapeReadTimeout bounds how long a request may take, scrapeWriteTimeout how long it and its
	// answer. Then the connection is closed: a client that asks again makes another.
	scrapeReadTimeout  = 5 * time.Second
	scrapeWriteTimeout = 30 * time.Second
	// listenRetry and listenRetryMax are the first and the longest pause before an address is tried
	// again.
	listenRetry    = time.Second
	listenRetryMax = 30 * time.Second
)

// metricsServer serves the metrics where the config in force says.
type metricsServer struct {
	handler http.Handler
	store   *resource.Store
	// report takes why they are not served; nothing if they are, or need not be.
	report func(found ...condition.Condition)
	log    *slog.Logger

	// server serves at an address; nil while none does.
	server *http.Server
	at     netip.AddrPort
	// ended is closed when server has stopped.
	ended chan struct{}
	// failures is how often the address could not be used, in a row.
	failures int
}

// serveMetrics serves the metrics where the config says, until ctx ends.
func (d *deps) serveMetrics(ctx context.Context, handler http.Handler, loop *reconciler.Loop) {
	m := &metricsServer{handler: handler, store: d.store, log: d.log, report: func(found ...condition.Condition) {
		_ = loop.Stand(ctx, condition.MetricsUnavailable, found...) // it fails where the agent stops
	}}
	m.run(ctx)
}

// run follows the config until ctx ends.
func (m *metricsServer) run(ctx context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	changed := make(chan struct{}, 1)
	for _, t := range []*resource.Type{resource.MachineConfigs, resource.Identities} {
		_, watcher := m.store.Watch(t)
		group.Go(func() error {
			defer watcher.Close()
			for {
				if _, err := watcher.Next(ctx); err != nil {
					return err
				}
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		})
	}
	defer func() { _ = group.Wait() }() // it ends with ctx
	defer m.stop()
	for {
		var again <-chan time.Time
		if pause := m.follow(ctx); pause > 0 {
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		case <-m.ended:
			m.stop()
		}
	}
}

// follow makes the server what the config in force asks for. It returns when to try that again;
// zero if it is so.
func (m *metricsServer) follow(ctx context.Context) (again time.Duration) {
	config, identity := m.inForce()
	at, err := metricsAddress(config, identity)
	if err == nil && at == m.at && m.failures == 0 {
		return 0
	}
	m.stop()
	if err == nil && at.IsValid() {
		err = m.start(ctx, at)
	}
	if err == nil {
		m.failures = 0
		m.report()
		return 0
	}
	m.failures++
	m.report(metricsUnavailable(config.Machine.Metrics.Listen, err))
	return retry.Pause(m.failures, listenRetry, listenRetryMax)
}

// inForce returns the config in force and the machine's identity; nil for none.
func (m *metricsServer) inForce() (config *schema.Config, identity *resource.IdentitySpec) {
	for _, r := range m.store.List(resource.MachineConfigs) {
		if c, is := r.Spec.(resource.MachineConfig); is {
			config = c.Config
		}
	}
	for _, r := range m.store.List(resource.Identities) {
		if i, is := r.Spec.(resource.IdentitySpec); is {
			identity = &i
		}
	}
	return config, identity
}

// errNotOurs is the error of an address that the metrics are not served at.
var errNotOurs = errors.New("it is neither a loopback address nor one of this machine in the mesh")

// errDisabled is the error of an address in the mesh where there is none.
var errDisabled = errors.New("machine.network.kubespan.enabled is false, so there is no mesh")

// metricsAddress returns where a config asks for metrics. The address is zero for nowhere, and until
// the mesh is up that the address is in.
func metricsAddress(config *schema.Config, identity *resource.IdentitySpec) (at netip.AddrPort, err error) {
	if config == nil || config.Machine.Metrics.Listen.IsZero() {
		return at, nil
	}
	at = config.Machine.Metrics.Listen.Address
	switch {
	case at.Addr().IsLoopback():
		return at, nil
	case !config.KubeSpan().Enabled:
		return netip.AddrPort{}, errDisabled
	case identity == nil:
		return netip.AddrPort{}, nil
	case !at.Addr().IsValid():
		return netip.AddrPortFrom(identity.Address.Addr(), at.Port()), nil
	case at.Addr() == identity.Address.Addr():
		return at, nil
	}
	for _, a := range config.KubeSpan().Addresses {
		if a.Addr() == at.Addr() {
			return at, nil
		}
	}
	return netip.AddrPort{}, errNotOurs
}

// start serves at an address.
func (m *metricsServer) start(ctx context.Context, at netip.AddrPort) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+MetricsPath, m.handler)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: scrapeReadTimeout,
		ReadTimeout:       scrapeReadTimeout,
		WriteTimeout:      scrapeWriteTimeout,
		MaxHeaderBytes:    maxScrapeHeader,
		ErrorLog:          slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(false)
	m.server, m.at, m.ended = server, at, make(chan struct{})
	m.log.Info("metrics served", "address", at.String())
	go func(ended chan<- struct{}) {
		defer close(ended)
		if err := server.Serve(netutil.LimitListener(listener, maxScrapers)); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("metrics not served any more", "address", at.String(), "error", err)
		}
	}(m.ended)
	return nil
}

// stop stops the server, if there is one, and waits for it.
func (m *metricsServer) stop() {
	if m.server == nil {
		return
	}
	_ = m.server.Close() // its listener is closed, whatever that says
	<-m.ended
	m.server, m.at, m.ended = nil, netip.AddrPort{}, nil
}

// metricsUnavailable is the condition of an address that cannot be used.
func metricsUnavailable(listen schema.ListenAddress, err error) condition.Condition {
	const setting = "machine.metrics.listen"
	c := condition.Condition{Code: condition.MetricsUnavailable, Subject: listen.String()}
	switch {
	case errors.Is(err, errNotOurs):
		c.Cause, c.Remedy = err.Error(), fmt.Sprintf("set %s to \"mesh:%d\", or to \"127.0.0.1:%d\"", setting, listen.Address.Port(), listen.Address.Port())
	case errors.Is(err, errDisabled):
		c.Cause, c.Remedy = err.Error(), fmt.Sprintf("set %s to a loopback address", setting)
	case errors.Is(err, unix.EADDRINUSE):
		c.Cause, c.Remedy = "another program listens there", fmt.Sprintf("end it (`ss -ltnp` names it), or set %s to another port", setting)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		c.Cause, c.Remedy = "this machine does not have the address now", "see what keeps the mesh from being up"
	case errors.Is(err, unix.EACCES):
		c.Cause, c.Remedy = "the agent may not listen at ports below 1024", fmt.Sprintf("set %s to a port from 1024", setting)
	default:
		c.Cause, c.Remedy = "the metrics cannot be served there: "+err.Error(), fmt.Sprintf("set %s to another address", setting)
	}
	return c
}
