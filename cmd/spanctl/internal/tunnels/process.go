package tunnels

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/logrepeat"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/relay/stream"
	"github.com/spanmesh/span/relay/tunnel"
)

// Command is the name of the command that calls Main. The socket's directory and name, and the log
// follow it.
const Command = "tunnel-process"

// inherited is set in the environment of the process that serves.
const inherited = "SPANCTL_TUNNELS_INHERITED"

// Main is the program of the process. It starts it, and returns when it serves; the process itself
// serves until a signal ends it, or its socket is removed.
func Main(dir, name, log string) error {
	if !detached.Inherited(inherited) {
		return detached.Spawn(inherited, log)
	}
	socket, err := detached.Listen(dir, name)
	if err != nil {
		return errors.Join(err, detached.Ready(inherited, err))
	}
	defer socket.Remove()
	if err := detached.Ready(inherited, nil); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer stop()
	k := newKeeper(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	defer k.close()
	return socket.Serve(ctx, func(_ *net.UnixConn, request []byte) []byte { return k.answer(request) })
}

// keeper has the tunnels of a process.
type keeper struct {
	log *slog.Logger

	mu   sync.Mutex
	open map[Tunnel]*running
	// refused are those of the last request that cannot be opened.
	refused []Status
}

// running is a tunnel that is open.
type running struct {
	*tunnel.Tunnel
	stop  context.CancelFunc
	ended chan struct{}
}

// close closes the tunnel, and waits until its port is free.
func (r *running) close() {
	r.stop()
	<-r.ended
}

func newKeeper(log *slog.Logger) *keeper {
	return &keeper{log: logrepeat.Limit(log), open: map[Tunnel]*running{}}
}

// answer returns the answer to a request.
func (k *keeper) answer(text []byte) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, err := parseRequest(text)
	if err == nil && r.Keep != nil {
		err = k.keep(*r.Keep)
	}
	a := k.status(time.Now())
	if err != nil {
		a.Error = err.Error()
	}
	reply, err := json.Marshal(a)
	if err != nil {
		return nil // not reached: all fields are plain
	}
	return reply
}

// keep opens the tunnels that are wanted, and closes the others first: another tunnel to the same relay
// may take the port of one.
func (k *keeper) keep(all []wanted) error {
	all, k.refused = usable(all)
	locals := map[string]uint16{}
	for t, r := range k.open {
		if !slices.ContainsFunc(all, func(w wanted) bool { return w.Tunnel == t }) {
			locals[t.Relay.String()] = r.Endpoint().Port()
			r.close()
			delete(k.open, t)
		}
	}
	var failures []error
	for _, w := range all {
		if k.open[w.Tunnel] != nil {
			continue
		}
		opened, err := k.start(w.Tunnel, cmp.Or(locals[w.Relay.String()], w.Local))
		if err != nil {
			failures = append(failures, err)
			continue
		}
		k.open[w.Tunnel] = opened
	}
	return errors.Join(failures...)
}

// start opens a tunnel, at a port on loopback if that is free.
func (k *keeper) start(t Tunnel, local uint16) (*running, error) {
	opened, err := tunnel.Open(tunnel.Options{Target: t.URL, Port: t.Port, Local: local, Log: k.log,
		Dialer: stream.Dialer{TLS: trusting(t.CA), Dial: netlinkapply.MarkedDialer(t.Mark), Proxy: t.through}})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Tunnel: opened, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		opened.Run(ctx)
	}()
	return r, nil
}

// through returns the proxy of the tunnel; nil for none.
func (t Tunnel) through(*http.Request) (*url.URL, error) {
	if t.Proxy == "" {
		return nil, nil
	}
	return url.Parse(t.Proxy) // check has parsed it
}

// status returns what there is at a time, sorted by relay.
func (k *keeper) status(now time.Time) answer {
	a := answer{Version: version.Version, Idle: true, Tunnels: slices.Clone(k.refused)}
	for t, r := range k.open {
		s := Status{Relay: t.Relay, Endpoint: r.Endpoint()}
		if err := r.Failure(); err != nil {
			s.Failure = err.Error()
		}
		a.Idle = a.Idle && r.Idle(now)
		a.Tunnels = append(a.Tunnels, s)
	}
	slices.SortFunc(a.Tunnels, func(a, b Status) int { return a.Relay.Compare(b.Relay) })
	return a
}

func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.keep(nil) // which opens nothing
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
