package userspace

import (
	"bytes"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// TestBothFamilies sends to addresses of both IP versions in turn, and to another one of IPv6, from one bind.
func TestBothFamilies(t *testing.T) {
	b := newBind()
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	const rounds = 50
	var receivers [2]*net.UDPConn
	var to [2]conn.Endpoint
	for i, network := range []string{"udp4", "udp6"} {
		receiver, err := net.ListenUDP(network, &net.UDPAddr{IP: map[string]net.IP{"udp4": net.IPv4(127, 0, 0, 1), "udp6": net.IPv6loopback}[network]})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = receiver.Close() }()
		if to[i], err = b.ParseEndpoint(receiver.LocalAddr().String()); err != nil {
			t.Fatal(err)
		}
		receivers[i] = receiver
	}
	other, err := b.ParseEndpoint("[2001:db8:1:2:3:4:5:6]:9")
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		_ = b.Send([][]byte{[]byte("lost")}, other) // no route may lead there
		for i, network := range []string{"udp4", "udp6"} {
			if err := b.Send([][]byte{[]byte(network)}, to[i]); err != nil {
				t.Errorf("send to %v: %v", to[i].DstToString(), err)
			}
		}
	}
	for i, receiver := range receivers {
		want := []byte([]string{"udp4", "udp6"}[i])
		if err := receiver.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for n := range rounds {
			buffer := make([]byte, 100)
			size, err := receiver.Read(buffer)
			if err != nil || !bytes.Equal(buffer[:size], want) {
				t.Fatalf("of %d packets to %v, %d arrived: %v", rounds, receiver.LocalAddr(), n, err)
			}
		}
	}
}

// TestSourceAddress has the routes change between a packet and its answer.
func TestSourceAddress(t *testing.T) {
	b := newBind()
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	// As if a packet of the peer had come to this address (ip(7), IP_PKTINFO).
	from := &endpoint{&conn.StdNetEndpoint{AddrPort: peer.LocalAddr().(*net.UDPAddr).AddrPort()}, b.routes.Load()}
	asked := reflect.ValueOf(from.StdNetEndpoint).Elem().FieldByName("src")
	*(*[]byte)(unsafe.Pointer(asked.UnsafeAddr())) = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{127, 0, 0, 9}})
	for _, want := range []string{"127.0.0.9", "127.0.0.1"} {
		if err := b.Send([][]byte{[]byte("answer")}, from); err != nil {
			t.Fatal(err)
		}
		if err := peer.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, source, err := peer.ReadFromUDPAddrPort(make([]byte, 100))
		if err != nil || source.Addr().Unmap() != netip.MustParseAddr(want) {
			t.Errorf("the answer comes from %v, want %s: %v", source, want, err)
		}
		b.routes.Add(1)
	}
}
