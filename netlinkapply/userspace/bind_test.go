package userspace

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

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
	receive, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	peer, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	if _, err := peer.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	packets, sizes, endpoints := make([][]byte, b.BatchSize()), make([]int, b.BatchSize()), make([]conn.Endpoint, b.BatchSize())
	for i := range packets {
		packets[i] = make([]byte, 1<<16)
	}
	n, err := receive[0](packets, sizes, endpoints)
	if err != nil {
		t.Fatal(err)
	}
	var from conn.Endpoint
	for i := range n {
		if sizes[i] > 0 {
			from = endpoints[i]
		}
	}
	if got := from.SrcIP(); got != netip.MustParseAddr("127.0.0.9") {
		t.Skipf("the packet came to %v: where packets are received in batches of one buffer, the bind does not say", got)
	}
	answered := func() bool {
		t.Helper()
		if err := b.Send([][]byte{[]byte("answer")}, from); err != nil {
			t.Fatal(err)
		}
		if err := peer.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := peer.Read(make([]byte, 100))
		return err == nil
	}
	if !answered() {
		t.Error("the answer does not come from the address that was asked")
	}
	b.routes.Add(1)
	if answered() {
		t.Error("after a change of routes, the source address is the same")
	}
}
