package netlinkapply_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

// TestPeerWithManyNetworks has a peer that takes several messages, as a relay may.
func TestPeerWithManyNetworks(t *testing.T) {
	k := open(t)
	in := inputs(t, 3)
	in.Peers[1].AllowedIPs = nil
	for i := range 3000 {
		in.Peers[1].AllowedIPs = append(in.Peers[1].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 7), byte(i << 1)}), 32))
	}
	reach(t, k, state.Build(in))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	_, peers, err := k.Device(scopeOf(t))
	if err != nil || len(peers) != 3 || len(peers[1].AllowedIPs) != 3000 || len(peers[2].AllowedIPs) != 2 {
		t.Errorf("%d peers, %v", len(peers), err)
	}
	in.Peers[1].AllowedIPs = in.Peers[1].AllowedIPs[:1]
	reach(t, k, state.Build(in))
}

// TestProbesGoIntoTheTunnel probes addresses of peers. WireGuard must then begin a handshake with
// each of these peers.
func TestProbesGoIntoTheTunnel(t *testing.T) {
	k := open(t)
	in := inputs(t, 2)
	in.KubeSpan.PersistentKeepalive = 0
	for i := range in.Connections {
		in.Connections[i].Action.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9)
	}
	reach(t, k, state.Build(in))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	contacted := func() (n int) {
		t.Helper()
		_, peers, err := k.Device(scopeOf(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			if p.TransmitBytes > 0 {
				n++
			}
		}
		return n
	}
	if n := contacted(); n != 0 {
		t.Fatalf("WireGuard has sent to %d peers before the probes", n)
	}
	probes := []peer.Probe{
		{Peer: in.Peers[0].PublicKey, Address: in.Peers[0].AllowedIPs[0].Addr()},
		{Peer: in.Peers[1].PublicKey, Address: in.Peers[1].AllowedIPs[1].Addr().Next()},
	}
	if err := k.Probe(t.Context(), scopeOf(t), probes); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); contacted() < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("WireGuard has sent to %d peers", contacted())
		}
	}
	if err := k.ClearSources(scopeOf(t)); err != nil {
		t.Error(err)
	}
}

// udp is the socket of a peer.
type udp struct {
	net.PacketConn
	port netip.AddrPort
}

func listenUDP(t *testing.T) udp {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return udp{conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// receives reports whether a packet arrives within d.
func (u udp) receives(t *testing.T, d time.Duration) bool {
	t.Helper()
	if err := u.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	_, _, err := u.ReadFrom(make([]byte, 2048))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// TestPeerWithoutKeepaliveIsNotContacted creates a peer with a keepalive and one without together.
// WireGuard sends to the first only, until the second has a keepalive too.
func TestPeerWithoutKeepaliveIsNotContacted(t *testing.T) {
	k := open(t)
	in := inputs(t, 2)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	active, deferred := listenUDP(t), listenUDP(t)
	in.Connections[0].Action.Endpoint, in.Connections[1].Action.Endpoint = active.port, deferred.port
	in.Connections[1].Status.InitiateAfter = time.Now()
	desired := state.Build(in)
	reach(t, k, desired)
	if !active.receives(t, 10*time.Second) {
		t.Error("the peer with a keepalive was not contacted")
	}
	if deferred.receives(t, 500*time.Millisecond) {
		t.Error("the peer without a keepalive was contacted")
	}
	in.Connections[1].Status.InitiateAfter = time.Time{}
	reach(t, k, state.Build(in))
	if !deferred.receives(t, 10*time.Second) {
		t.Error("the peer was not contacted when its keepalive was turned on")
	}
}

// TestNewEndpointIsContactedAtOnce changes the endpoint of a peer. WireGuard by itself would wait
// until it has something to send.
func TestNewEndpointIsContactedAtOnce(t *testing.T) {
	k := open(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	first, second := listenUDP(t), listenUDP(t)
	in.Connections[0].Action.Endpoint = first.port
	reach(t, k, state.Build(in))
	if !first.receives(t, 10*time.Second) {
		t.Fatal("the first endpoint was not contacted")
	}
	in.Connections[0].Action.Endpoint = second.port
	reach(t, k, state.Build(in))
	if !second.receives(t, 10*time.Second) {
		t.Error("the second endpoint was not contacted")
	}
}

// TestAllowedIPMovesInAnyOrder swaps networks between peers. WireGuard takes an allowed IP from
// the peer that has it when another one gets it, so no order of the changes may lose one.
func TestAllowedIPMovesInAnyOrder(t *testing.T) {
	k := open(t)
	in := inputs(t, 3)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	a, b, c := in.Peers[0].AllowedIPs, in.Peers[1].AllowedIPs, in.Peers[2].AllowedIPs
	for _, lists := range [][3][]netip.Prefix{{a, b, c}, {b, c, a}, {c, a, b}, {b, a, c}, {nil, a, b}, {a, nil, nil}, {append(a[:1:1], b...), nil, c}} {
		for i := range in.Peers {
			in.Peers[i].AllowedIPs = lists[i]
		}
		reach(t, k, state.Build(in)) // reads back, and compares
	}
}
