package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// acceptRetry is the pause after a failure to accept a connection that may pass.
	acceptRetry = 100 * time.Millisecond
	// warnInterval is the least time between two warnings of the same kind.
	warnInterval = time.Minute
)

// Door accepts connections and routes them.
type Door struct {
	limits  Limits
	tls     *tls.Config
	log     *slog.Logger
	grpc    *Listener
	http    *Listener
	callers callers
	pending *queue
	stats   stats
	// warned is when a refused connection was last logged, in Unix nanoseconds.
	warned atomic.Int64
}

// stats count what became of connections.
type stats struct {
	refused, replaced, unrouted, stuck atomic.Uint64
}

// Stats are numbers of connections.
type Stats struct {
	// Open is how many are open.
	Open int
	// Refused were closed at once because there were too many.
	Refused uint64
	// Replaced were closed because there were too many in all, and their caller had the most.
	Replaced uint64
	// Unrouted ended before the headers of their first request: slow, broken or silent ones.
	Unrouted uint64
	// Stuck were reset because the client took nothing of what was sent.
	Stuck uint64
}

// Stats returns the numbers of connections so far.
func (d *Door) Stats() Stats {
	return Stats{
		Open:     d.callers.count(),
		Refused:  d.stats.refused.Load(),
		Replaced: d.stats.replaced.Load(),
		Unrouted: d.stats.unrouted.Load(),
		Stuck:    d.stats.stuck.Load(),
	}
}

// New returns a door. With a TLS configuration connections are taken with TLS only, and
// HTTP/2 and HTTP/1.1 are offered in it; with nil all are in plain text.
func New(limits Limits, tlsConfig *tls.Config, log *slog.Logger) *Door {
	if tlsConfig != nil {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	limits = limits.orDefaults()
	return &Door{
		limits:  limits,
		tls:     tlsConfig,
		log:     log,
		grpc:    NewListener(address{}),
		http:    NewListener(address{}),
		callers: callers{of: map[netip.Addr]*caller{}},
		pending: newQueue(limits.Pending),
	}
}

// GRPC returns the listener of connections whose first request is gRPC in protobuf. TLS, if
// any, is done: the server speaks HTTP/2 in plain text on them.
func (d *Door) GRPC() net.Listener { return d.grpc }

// HTTP returns the listener of all other connections. TLS, if any, is done: the server speaks
// HTTP/1.1 and HTTP/2 in plain text on them.
func (d *Door) HTTP() net.Listener { return d.http }

// Serve accepts connections from l and routes them until ctx ends, and closes l. It may be
// called for several listeners. Connections that were routed stay open, and so do the
// listeners GRPC and HTTP: their servers close them.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var routing sync.WaitGroup
	defer routing.Wait()
	defer cancel()
	defer func() { _ = l.Close() }()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return errors.Join(ignoreClosed(err), closeConn(conn))
		case passes(err):
			d.log.Warn("accepting a connection failed", "error", err)
			wait(ctx, acceptRetry)
		case err != nil:
			return fmt.Errorf("accept connections on %s: %w", l.Addr(), err)
		default:
			d.enter(ctx, &routing, conn)
		}
	}
}

// passes reports whether accepting may succeed later: the connection was gone before it was
// accepted, or file descriptors or memory are short.
func passes(err error) bool {
	for _, e := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// enter lets an accepted connection in and routes it in a goroutine, or closes it.
func (d *Door) enter(ctx context.Context, routing *sync.WaitGroup, raw net.Conn) {
	c := &Conn{Conn: raw, raw: raw, caller: callerOf(raw), timeout: d.limits.WriteTimeout, started: time.Now(), door: d}
	instead, exceeded := d.callers.enter(c, &d.limits)
	if exceeded != "" {
		d.stats.refused.Add(1)
		d.warn(c.caller, exceeded)
		abort(raw)
		return
	}
	if instead != nil {
		d.stats.replaced.Add(1)
		d.warn(instead.caller, limitConnections)
		abort(instead.raw)
	}
	tune(raw)
	routing.Go(func() {
		to, err := d.admit(ctx, c)
		if err != nil {
			d.stats.unrouted.Add(1)
			d.log.Debug("connection ended before its first request", "caller", c.caller.String(), "error", err)
			_ = c.Close()
			return
		}
		to.Give(c)
	})
}

// warn logs a connection that was closed because of a limit, once a minute.
func (d *Door) warn(caller netip.Addr, limit string) {
	now, last := time.Now().UnixNano(), d.warned.Load()
	if now-last >= int64(warnInterval) && d.warned.CompareAndSwap(last, now) {
		d.log.Warn("connection closed: too many are open", "caller", caller.String(), "limit", limit, "open", d.callers.count())
	}
}

// admit waits for a place, does the TLS handshake, and returns the listener that the
// connection goes to.
func (d *Door) admit(ctx context.Context, c *Conn) (*Listener, error) {
	closeRaw := func() { _ = c.raw.Close() }
	defer context.AfterFunc(ctx, closeRaw)()
	deadline := c.started.Add(d.limits.HeaderTimeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for _, q := range []*queue{c.who.pending, d.pending} {
		leave, err := q.enter(ctx, closeRaw)
		if err != nil {
			return nil, fmt.Errorf("wait for others to finish their handshakes: %w", err)
		}
		defer leave()
	}
	if err := c.raw.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if d.tls != nil {
		secure := tls.Server(c.raw, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c.Conn = secure
	}
	to := d.http
	if !c.who.proxy || d.limits.ProxiesSeparate {
		peeked, grpc, err := peek(c.Conn, c, &d.limits)
		if err != nil {
			return nil, err
		}
		c.peeked = peeked
		if grpc {
			to = d.grpc
		}
	}
	return to, c.SetReadDeadline(time.Time{})
}

// abort closes a connection and drops what the kernel has still to send.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func closeConn(c net.Conn) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// wait waits for a time, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
