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

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/schema"
)

const (
	// listenRetry and listenRetryMax are the first and the longest pause before an address is tried
	// again.
	listenRetry    = time.Second
	listenRetryMax = 30 * time.Second
)

// offer is what a listener serves.
type offer struct {
	// what is its name, such as "metrics".
	what string
	// setting is the path of the setting that says where, address returns it.
	setting string
	address func(*schema.Config) schema.ListenAddress
	// code is that of the condition while it cannot be served.
	code condition.Code
	// secret returns what clients must know. It is asked again every recheck; both may be zero.
	secret  func(*schema.Config) (string, error)
	recheck time.Duration
	// server returns what serves those who know the secret, bound limits its connections.
	server func(secret string) *http.Server
	bound  func(net.Listener) net.Listener
}

// listener serves an offer where the config in force says.
type listener struct {
	offer
	store *resource.Store
	// report takes why it is not served; nothing if it is, or need not be.
	report func(found ...condition.Condition)
	log    *slog.Logger

	// running serves at an address those who know the secret; nil while none does.
	running *http.Server
	at      netip.AddrPort
	known   string
	// ended is closed when running has stopped.
	ended chan struct{}
	// failures is how often the address could not be used, in a row.
	failures int
}

// listen serves an offer where the config says, until ctx ends.
func (d *deps) listen(ctx context.Context, o offer, loop *reconciler.Loop) {
	l := &listener{offer: o, store: d.store, log: d.log, report: func(found ...condition.Condition) {
		_ = loop.Stand(ctx, o.code, found...) // it fails where the agent stops
	}}
	l.run(ctx)
}

// run follows the config until ctx ends.
func (l *listener) run(ctx context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	changed := make(chan struct{}, 1)
	for _, t := range []*resource.Type{resource.MachineConfigs, resource.Identities} {
		_, watcher := l.store.Watch(t)
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
	defer l.stop()
	for {
		var again <-chan time.Time
		if pause := l.follow(ctx); pause > 0 {
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		case <-l.ended:
			l.stop()
		}
	}
}

// follow makes the server what the config in force asks for. It returns when to look at that again;
// zero for not before the config changes.
func (l *listener) follow(ctx context.Context) (again time.Duration) {
	config, identity := l.inForce()
	at, err := listenAddress(l.asked(config), config, identity)
	secret := ""
	if err == nil && at.IsValid() {
		again = l.recheck
		if l.secret != nil {
			secret, err = l.secret(config)
		}
	}
	if err == nil && at == l.at && secret == l.known && l.failures == 0 {
		return again
	}
	l.stop()
	if err == nil && at.IsValid() {
		err = l.start(ctx, at, secret)
	}
	if err == nil {
		l.failures = 0
		l.report()
		return again
	}
	l.failures++
	l.report(l.unavailable(l.asked(config), err))
	return retry.Pause(l.failures, listenRetry, listenRetryMax)
}

// asked returns where a config asks for the offer; the config may be nil.
func (l *listener) asked(config *schema.Config) (listen schema.ListenAddress) {
	if config != nil {
		listen = l.address(config)
	}
	return listen
}

// inForce returns the config in force and the machine's identity; nil for none.
func (l *listener) inForce() (config *schema.Config, identity *resource.IdentitySpec) {
	for _, r := range l.store.List(resource.MachineConfigs) {
		if c, is := r.Spec.(resource.MachineConfig); is {
			config = c.Config
		}
	}
	for _, r := range l.store.List(resource.Identities) {
		if i, is := r.Spec.(resource.IdentitySpec); is {
			identity = &i
		}
	}
	return config, identity
}

// errNotOurs is the error of an address that nothing is served at.
var errNotOurs = errors.New("it is neither a loopback address nor one of this machine in the mesh")

// errDisabled is the error of an address in the mesh where there is none.
var errDisabled = errors.New("machine.network.kubespan.enabled is false, so there is no mesh")

// listenAddress returns the address that a setting of a config means. It is zero for nowhere, and
// until the mesh is up that the address is in.
func listenAddress(listen schema.ListenAddress, config *schema.Config, identity *resource.IdentitySpec) (at netip.AddrPort, err error) {
	if listen.IsZero() {
		return at, nil
	}
	at = listen.Address
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
func (l *listener) start(ctx context.Context, at netip.AddrPort, secret string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	server := l.server(secret)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	server.ErrorLog = slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
	l.running, l.at, l.known, l.ended = server, at, secret, make(chan struct{})
	l.log.Info("listening", "for", l.what, "address", at.String())
	go func(ended chan<- struct{}) {
		defer close(ended)
		if err := server.Serve(l.bound(listener)); !errors.Is(err, http.ErrServerClosed) {
			l.log.Error("not listening any more", "for", l.what, "address", at.String(), "error", err)
		}
	}(l.ended)
	return nil
}

// stop stops the server, if there is one, and waits for it.
func (l *listener) stop() {
	if l.running == nil {
		return
	}
	_ = l.running.Close() // its listener is closed, whatever that says
	<-l.ended
	l.running, l.at, l.known, l.ended = nil, netip.AddrPort{}, "", nil
}

// unavailable is the condition of an address that cannot be used.
func (l *listener) unavailable(listen schema.ListenAddress, err error) condition.Condition {
	c := condition.Condition{Code: l.code, Subject: listen.String()}
	var token *tokenError
	switch {
	case errors.As(err, &token):
		c.Cause, c.Remedy = token.cause, token.remedy
	case errors.Is(err, errNotOurs):
		c.Cause, c.Remedy = err.Error(), fmt.Sprintf("set %s to \"mesh:%d\", or to \"127.0.0.1:%d\"", l.setting, listen.Address.Port(), listen.Address.Port())
	case errors.Is(err, errDisabled):
		c.Cause, c.Remedy = err.Error(), fmt.Sprintf("set %s to a loopback address", l.setting)
	case errors.Is(err, unix.EADDRINUSE):
		c.Cause, c.Remedy = "another program listens there", fmt.Sprintf("end it (`ss -ltnp` names it), or set %s to another port", l.setting)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		c.Cause, c.Remedy = "this machine does not have the address now", "see what keeps the mesh from being up"
	case errors.Is(err, unix.EACCES):
		c.Cause, c.Remedy = "the agent may not listen at ports below 1024", fmt.Sprintf("set %s to a port from 1024", l.setting)
	default:
		c.Cause, c.Remedy = "the "+l.what+" cannot be served there: "+err.Error(), fmt.Sprintf("set %s to another address", l.setting)
	}
	return c
}
