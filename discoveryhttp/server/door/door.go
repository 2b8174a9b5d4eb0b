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
	"syscall"
	"time"
)

// acceptRetry is the pause after a failure to accept a connection that may pass.
const acceptRetry = 100 * time.Millisecond

// Door accepts connections and routes them.
type Door struct {
	limits  Limits
	tls     *tls.Config
	log     *slog.Logger
	grpc    *listener
	http    *listener
	callers callers
	pending *queue
}

// New returns a door. With a TLS configuration connections are taken with TLS only, and
// HTTP/2 and HTTP/1.1 are offered in it; with nil all are in plain text.
func New(limits Limits, tlsConfig *tls.Config, log *slog.Logger) *Door {
	if tlsConfig != nil {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	return &Door{
		limits:  limits,
		tls:     tlsConfig,
		log:     log,
		grpc:    newListener(),
		http:    newListener(),
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

// enter counts an accepted connection and routes it in a goroutine.
func (d *Door) enter(ctx context.Context, routing *sync.WaitGroup, raw net.Conn) {
	address := callerOf(raw)
	key := keyOf(address)
	proxy := !address.IsValid() || d.limits.trusts(address)
	who := d.callers.enter(key, &d.limits, proxy)
	if who == nil {
		d.log.Debug("connection refused: too many are open", "caller", address)
		refuse(raw)
		return
	}
	tune(raw)
	c := &Conn{Conn: raw, raw: raw, caller: address, timeout: d.limits.WriteTimeout, started: time.Now(),
		left: func() { d.callers.leave(key) }}
	routing.Go(func() {
		to, err := d.admit(ctx, c, who, proxy)
		if err != nil {
			d.log.Debug("connection ended before its first request", "caller", address, "error", err)
			_ = c.Close()
			return
		}
		to.give(c)
	})
}

// admit waits for a place, does the TLS handshake, and returns the listener that the
// connection goes to.
func (d *Door) admit(ctx context.Context, c *Conn, who *caller, proxy bool) (*listener, error) {
	closeRaw := func() { _ = c.raw.Close() }
	defer context.AfterFunc(ctx, closeRaw)()
	deadline := c.started.Add(d.limits.HeaderTimeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for _, q := range []*queue{who.pending, d.pending} {
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
	if !proxy || !d.limits.ProxiesMix {
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

// refuse closes a connection without keeping it in the kernel for its last packets.
func refuse(c net.Conn) {
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
