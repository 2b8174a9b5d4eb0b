package simulated

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Traffic counts what machines exchange with the server. It is safe for concurrent use.
type Traffic struct {
	// Read and Written are bytes of TCP, and Dials are connections.
	Read, Written, Dials atomic.Int64
	// Messages and Affiliates are those of the streams of light machines.
	Messages, Affiliates atomic.Int64
}

// gate is a machine's way to the server, which can be cut.
type gate struct {
	dialer  net.Dialer
	traffic *Traffic

	mu   sync.Mutex
	shut bool
	open map[*counted]bool
}

func newGate(number int, traffic *Traffic) *gate {
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(source(number), 0))
	return &gate{dialer: net.Dialer{LocalAddr: from}, traffic: traffic, open: map[*counted]bool{}}
}

var errCut = errors.New("network is unreachable")

// dial implements reconciler.DialFunc.
func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return nil, errCut
	}
	c, err := g.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	g.traffic.Dials.Add(1)
	counted := &counted{c, g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[counted] = true
	return counted, nil
}

// cut closes all connections and lets no new ones through, or opens the gate again.
func (g *gate) cut(shut bool) {
	g.mu.Lock()
	g.shut = shut
	var open []*counted
	if shut {
		for c := range g.open {
			open = append(open, c)
		}
	}
	g.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// counted is a connection whose bytes are counted.
type counted struct {
	net.Conn
	gate *gate
}

// Read implements net.Conn.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gate.traffic.Read.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.gate.traffic.Written.Add(int64(n))
	return n, err
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.open, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
