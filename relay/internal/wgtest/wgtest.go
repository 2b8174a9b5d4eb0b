// Package wgtest runs WireGuard devices whose packets go through a network in memory.
package wgtest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// Network delivers packets. Route is called for each packet, one at a time: it returns what arrives
// and where.
type Network struct {
	Route func(from, to netip.AddrPort, packet []byte) []Packet

	mu    sync.Mutex
	binds map[netip.AddrPort]*Bind
}

// Packet arrives at an address.
type Packet struct {
	From, To netip.AddrPort
	Data     []byte
}

// Send sends a packet from any address.
func (n *Network) Send(from, to netip.AddrPort, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.Route(from, to, data) {
		if b := n.binds[p.To]; b != nil {
			select {
			case b.in <- Packet{p.From, p.To, bytes.Clone(p.Data)}:
			default:
			}
		}
	}
}

// Do runs a function between two packets.
func (n *Network) Do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// Device is a WireGuard device with a TUN of its own.
type Device struct {
	*device.Device
	TUN  *tuntest.ChannelTUN
	Bind *Bind
}

// NewDevice returns a device that is up at an address.
func NewDevice(t testing.TB, n *Network, at netip.AddrPort, private [32]byte) *Device {
	t.Helper()
	b := &Bind{network: n, in: make(chan Packet, 256)}
	n.Move(b, at)
	tun := tuntest.NewChannelTUN()
	d := device.NewDevice(tun.TUN(), b, device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(d.Close)
	if err := d.IpcSet("private_key=" + hex.EncodeToString(private[:])); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(); err != nil {
		t.Fatal(err)
	}
	return &Device{d, tun, b}
}

// Peer adds a peer; allowed is empty for a relay.
func (d *Device) Peer(t testing.TB, public [32]byte, endpoint netip.AddrPort, allowed string, keepalive int) {
	t.Helper()
	c := fmt.Sprintf("public_key=%x\nreplace_allowed_ips=true\npersistent_keepalive_interval=%d\n", public, keepalive)
	if endpoint.IsValid() {
		c += fmt.Sprintf("endpoint=%s\n", endpoint)
	}
	if allowed != "" {
		c += "allowed_ip=" + allowed + "\n"
	}
	if err := d.IpcSet(c); err != nil {
		t.Fatal(err)
	}
}

// Remove removes a peer.
func (d *Device) Remove(t testing.TB, public [32]byte) {
	t.Helper()
	if err := d.IpcSet(fmt.Sprintf("public_key=%x\nremove=true\n", public)); err != nil {
		t.Fatal(err)
	}
}

// Move gives a device another address.
func (n *Network) Move(b *Bind, at netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.binds == nil {
		n.binds = map[netip.AddrPort]*Bind{}
	}
	delete(n.binds, b.at)
	b.at = at
	n.binds[at] = b
}

// Bind is a device's socket.
type Bind struct {
	network *Network
	at      netip.AddrPort
	in      chan Packet
	closed  chan struct{}
	once    *sync.Once
}

// Open implements conn.Bind.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	closed := make(chan struct{})
	b.closed, b.once = closed, &sync.Once{}
	receive := func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case p := <-b.in:
			sizes[0], eps[0] = copy(packets[0], p.Data), endpoint(p.From)
			return 1, nil
		case <-closed:
			return 0, net.ErrClosed
		}
	}
	return []conn.ReceiveFunc{receive}, b.at.Port(), nil
}

// Close implements conn.Bind.
func (b *Bind) Close() error {
	if b.once != nil {
		b.once.Do(func() { close(b.closed) })
	}
	return nil
}

// Send implements conn.Bind.
func (b *Bind) Send(packets [][]byte, to conn.Endpoint) error {
	e, ok := to.(endpoint)
	if !ok {
		return errors.New("an endpoint of another bind")
	}
	for _, p := range packets {
		b.network.Send(b.at, netip.AddrPort(e), p)
	}
	return nil
}

// SetMark implements conn.Bind.
func (b *Bind) SetMark(uint32) error { return nil }

// BatchSize implements conn.Bind.
func (b *Bind) BatchSize() int { return 1 }

// ParseEndpoint implements conn.Bind.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return endpoint(a), err
}

type endpoint netip.AddrPort

func (e endpoint) ClearSrc()           {}
func (e endpoint) SrcToString() string { return "" }
func (e endpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e endpoint) DstToBytes() []byte  { b, _ := netip.AddrPort(e).MarshalBinary(); return b }
func (e endpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
