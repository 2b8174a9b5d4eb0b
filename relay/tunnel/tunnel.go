// Package tunnel makes a relay that is reached by a stream an address of UDP on loopback, for a
// WireGuard device whose network lets no UDP through.
//
//	WireGuard ──UDP, loopback──▶ Tunnel ──stream, TCP and TLS──▶ relay
//
// Since the relay tells packets apart by their indices, one address serves all peers behind it.
package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/spanmesh/span/relay/stream"
)

const (
	// waiting is how many packets wait for a stream that is being opened.
	waiting = 16
	// idleAfter is how long a stream stays open that WireGuard sends nothing to: several keepalives.
	idleAfter = 90 * time.Second
	// firstPause and lastPause are the first and the longest pause between two tries to open one.
	firstPause, lastPause = time.Second, time.Minute
	// shortest is how long a stream lasts that counts as one.
	shortest = 10 * time.Second
	// bufferSize is what is asked for the socket's buffers in the kernel, in bytes.
	bufferSize = 1 << 20
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Options are the inputs of a Tunnel.
type Options struct {
	// Target is the URL of the relay's streams.
	Target string
	Dialer stream.Dialer
	// Port is that of WireGuard: nobody else's packets are carried.
	Port uint16
	// Local is the port on loopback that the tunnel takes if it is free; 0 for any.
	Local uint16
	Log   *slog.Logger
}

// Tunnel carries packets between a socket on loopback and a relay. A stream is open while WireGuard
// sends.
type Tunnel struct {
	options   Options
	conn      *net.UDPConn
	wireguard netip.AddrPort

	// mu guards the fields below.
	mu     sync.Mutex
	stream *stream.Conn
	// opening is set while a stream is being opened. Packets wait for it in queue.
	opening bool
	queue   [][]byte
	// again is when a stream may be opened again, and failures how many tries have failed in a row.
	again    time.Time
	failures int
	// failure is why the last try failed; nil once something has come by a stream.
	failure error
	// sent is when WireGuard has last sent something.
	sent time.Time
}

// Open opens the socket of a tunnel.
func Open(o Options) (*Tunnel, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, o.Local)))
	if err != nil && o.Local != 0 {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	}
	if err != nil {
		return nil, err
	}
	_, _ = conn.SetReadBuffer(bufferSize), conn.SetWriteBuffer(bufferSize) // as much as an administrator allows
	return &Tunnel{options: o, conn: conn, wireguard: netip.AddrPortFrom(loopback, o.Port)}, nil
}

// Endpoint returns where WireGuard reaches the relay.
func (t *Tunnel) Endpoint() netip.AddrPort {
	address, _ := t.conn.LocalAddr().(*net.UDPAddr)
	return netip.AddrPortFrom(loopback, uint16(address.Port))
}

// Idle reports whether WireGuard does not use the tunnel at a time.
func (t *Tunnel) Idle(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stream == nil && !t.opening && now.Sub(t.sent) >= idleAfter
}

// Failure returns why the relay is not reached; nil if it is, or nothing was sent to it.
func (t *Tunnel) Failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// Run carries packets until ctx ends, and closes the socket.
func (t *Tunnel) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = t.conn.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.stream != nil {
			_ = t.stream.Close()
		}
	})
	defer func() {
		if !stop() {
			<-closed // a read may end before the port is free
		}
	}()
	packet := make([]byte, stream.MaxPacket+1)
	for {
		n, from, err := t.conn.ReadFromUDPAddrPort(packet)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			t.options.Log.Warn("tunnel to a relay ended", "relay", t.options.Target, "error", err)
			return
		case err != nil || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != t.wireguard || n > stream.MaxPacket:
			continue
		}
		if t.carry(time.Now(), packet[:n]) {
			group.Go(func() { t.open(ctx) })
		}
	}
}

// carry sends a packet to the relay, or keeps it for a stream. It reports whether one is to be opened.
func (t *Tunnel) carry(now time.Time, packet []byte) (open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = now
	if t.stream != nil {
		_ = t.stream.Send(packet) // Receive has the error
		return false
	}
	if t.opening || now.Before(t.again) {
		if t.opening && len(t.queue) < waiting {
			t.queue = append(t.queue, bytes.Clone(packet))
		}
		return false
	}
	t.opening = true
	t.queue = [][]byte{bytes.Clone(packet)}
	return true
}

// open opens a stream, and passes on what comes by it until it ends.
func (t *Tunnel) open(ctx context.Context) {
	conn, err := t.options.Dialer.Open(ctx, t.options.Target)
	if !t.opened(ctx, conn, err) {
		return
	}
	begun, received := time.Now(), false
	idle := time.AfterFunc(idleAfter, func() { t.closeIdle(conn) })
	defer idle.Stop()
	packet := make([]byte, stream.MaxPacket)
	for {
		n, err := conn.Receive(packet)
		if err != nil {
			t.ended(ctx, time.Now(), conn, soonEnded(time.Since(begun), received, err), err)
			return
		}
		if !received {
			received = true
			t.reached()
		}
		_, _ = t.conn.WriteToUDPAddrPort(packet[:n], t.wireguard) // as UDP, it may be lost
		idle.Reset(idleAfter)
	}
}

// soonEnded returns why a stream that ended counts as a try that failed; nil if it does not.
func soonEnded(lasted time.Duration, received bool, err error) error {
	switch {
	case !received:
		return fmt.Errorf("the stream was opened, and ended before anything came by it: %w", err)
	case lasted < shortest:
		return fmt.Errorf("the stream ended within %v: %w", shortest, err)
	default:
		return nil
	}
}

// ended takes that a stream has ended, and as what failure that counts; nil for none.
func (t *Tunnel) ended(ctx context.Context, now time.Time, conn *stream.Conn, failure, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stream != conn || ctx.Err() != nil { // this end has closed it
		return
	}
	t.stream = nil
	if failure != nil {
		t.fail(now, failure)
		return
	}
	t.options.Log.Info("stream to a relay ended", "relay", t.options.Target, "error", err)
	t.failures, t.again = 0, time.Time{}
}

// reached takes that something has come by a stream.
func (t *Tunnel) reached() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure = nil
}

// fail takes that a try has failed. The caller holds mu.
func (t *Tunnel) fail(now time.Time, err error) {
	t.failure = err
	pause := pauseAfter(t.failures)
	if t.failures++; t.failures == 1 {
		t.options.Log.Warn("relay not reached over TCP", "relay", t.options.Target, "error", err, "retry_in", pause.String())
	}
	t.again = now.Add(pause)
}

// pauseAfter returns the pause after a try that failed, as some before it in a row.
func pauseAfter(before int) time.Duration { return min(firstPause<<min(before, 10), lastPause) }

// opened takes a stream, or why there is none.
func (t *Tunnel) opened(ctx context.Context, conn *stream.Conn, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.queue
	t.opening, t.queue = false, nil
	switch {
	case err != nil && ctx.Err() == nil:
		t.fail(time.Now(), err)
		return false
	case err != nil:
		return false
	case ctx.Err() != nil:
		_ = conn.Close()
		return false
	}
	t.options.Log.Info("relay reached over TCP", "relay", t.options.Target)
	t.stream = conn
	for _, p := range queue {
		_ = conn.Send(p) // Receive has the error
	}
	return true
}

// closeIdle closes a stream that WireGuard has sent nothing to. It is called when nothing has come by it.
func (t *Tunnel) closeIdle(conn *stream.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.sent) < idleAfter {
		return
	}
	if _ = conn.Close(); t.stream == conn {
		t.stream = nil
	}
}
