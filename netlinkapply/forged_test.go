package netlinkapply_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// intruder sends what it likes from the far end of a link of this machine.
type intruder struct {
	t  *testing.T
	fd int
	to unix.SockaddrLinklayer
}

// intrude is at the link far, whose other end is near.
func intrude(t *testing.T, near, far string) intruder {
	t.Helper()
	a, err := netlink.LinkByName(near)
	b, failure := netlink.LinkByName(far)
	if err := errors.Join(err, failure); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	to := unix.SockaddrLinklayer{Ifindex: b.Attrs().Index, Halen: 6}
	copy(to.Addr[:], a.Attrs().HardwareAddr)
	return intruder{t, fd, to}
}

// send sends a packet with the payload of a protocol.
func (i intruder) send(from, to netip.Addr, protocol byte, payload []byte) {
	i.t.Helper()
	kind, packet := uint16(unix.ETH_P_IP), ip4(from, to, protocol, payload)
	if from.Is6() {
		kind, packet = unix.ETH_P_IPV6, ip6(from, to, protocol, payload)
	}
	i.to.Protocol = kind<<8 | kind>>8
	if err := unix.Sendto(i.fd, packet, 0, &i.to); err != nil {
		i.t.Fatal(err)
	}
}

func ip4(from, to netip.Addr, protocol byte, payload []byte) []byte {
	if from.Is6() {
		return nil
	}
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	switch protocol {
	case unix.IPPROTO_TCP:
		payload = withChecksum(from, to, protocol, payload, 16)
	case unix.IPPROTO_ICMP:
		binary.BigEndian.PutUint16(payload[2:], checksum(payload))
	}
	return append(h, payload...)
}

func ip6(from, to netip.Addr, protocol byte, payload []byte) []byte {
	h := []byte{0x60, 0, 0, 0, 0, 0, protocol, 64}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return append(h, withChecksum(from, to, protocol, payload, 6)...)
}

// withChecksum sets the checksum of TCP or UDP at an offset (RFC 9293, section 3.1).
func withChecksum(from, to netip.Addr, protocol byte, payload []byte, offset int) []byte {
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protocol, byte(len(payload)>>8), byte(len(payload)))
	binary.BigEndian.PutUint16(payload[offset:], checksum(append(pseudo, payload...)))
	return payload
}

// checksum is that of RFC 1071.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(data[i]) << 8
		if i+1 < len(data) {
			sum += uint32(data[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// ports are the first bytes of TCP and UDP headers.
func ports(from, to int) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(from)), uint16(to))
}

func datagram(from, to int, text string) []byte {
	header := binary.BigEndian.AppendUint16(ports(from, to), uint16(8+len(text)))
	return append(append(header, 0, 0), text...)
}

// syn begins a TCP connection, with data.
func syn(from, to int, text string) []byte {
	return append(append(ports(from, to), 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0), text...)
}

func echoRequest(text string) []byte { return append([]byte{8, 0, 0, 0, 0, 77, 0, 1}, text...) }

// sendRaw sends the payload of a protocol from this machine.
func sendRaw(t *testing.T, to netip.Addr, protocol int, payload []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Sendto(fd, payload, 0, &unix.SockaddrInet4{Addr: to.As4()})
	if err != nil && !errors.Is(err, unix.EPERM) { // that of a packet that a rule drops
		t.Fatal(err)
	}
}

// deafPort returns a TCP port that answers nothing.
func deafPort(t *testing.T) int {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it takes no filters
	listener, err := config.Listen(t.Context(), "tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	failure := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	if err := errors.Join(err, failure); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().(*net.TCPAddr).Port
}

// TestForgedPacketsOpenNothing has a host of the local network that sends packets with the
// addresses of a peer, and what this machine then begins with that peer itself.
func TestForgedPacketsOpenNothing(t *testing.T) {
	k := open(t)
	wire := tapWire(t, wayOut(t))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(inputs(t, 1)))
	forger := intrude(t, "eth0", "far0")
	self, peer := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("10.0.0.0")
	const service = 53
	t.Run("UDP", func(t *testing.T) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		port := conn.LocalAddr().(*net.UDPAddr).Port
		forger.send(peer, self, unix.IPPROTO_UDP, datagram(service, port, "forged"))
		if _, _, err := conn.ReadFrom(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.WriteTo([]byte("canary"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, service)))
		if err != nil && !errors.Is(err, unix.EPERM) {
			t.Fatal(err)
		}
		if wire.saw("canary") {
			t.Error("a query left in clear")
		}
	})
	t.Run("TCP", func(t *testing.T) {
		listener, err := net.Listen("tcp4", "192.0.2.7:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		port := listener.Addr().(*net.TCPAddr).Port
		forger.send(peer, self, unix.IPPROTO_TCP, syn(service, port, ""))
		if !wire.saw(string(ports(port, service))) {
			t.Error("what arrived in clear was not answered there")
		}
	})
	t.Run("TCP without an answer", func(t *testing.T) {
		port := deafPort(t)
		forger.send(peer, self, unix.IPPROTO_TCP, syn(service, port, "forged"))
		sendRaw(t, peer, unix.IPPROTO_TCP, withChecksum(self, peer, unix.IPPROTO_TCP, syn(port, service, "canary"), 16))
		if wire.saw("canary") {
			t.Error("a connection was begun in clear")
		}
	})
	t.Run("ICMP", func(t *testing.T) {
		forger.send(peer, self, unix.IPPROTO_ICMP, echoRequest("forged"))
		if !wire.saw("\x00\x4d\x00\x01forged") {
			t.Error("an echo request that arrived in clear was not answered there")
		}
		request := echoRequest("canary")
		binary.BigEndian.PutUint16(request[2:], checksum(request))
		sendRaw(t, peer, unix.IPPROTO_ICMP, request)
		if wire.saw("canary") {
			t.Error("an echo request left in clear")
		}
	})
}

// TestConnectionStaysInTheTunnel has a connection with the note of those that came through the tunnel,
// of which a host of the local network sends packets in clear.
func TestConnectionStaysInTheTunnel(t *testing.T) {
	k := open(t)
	wire := tapWire(t, wayOut(t))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(inputs(t, 1)))
	forger := intrude(t, "eth0", "far0")
	self, peer := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("10.0.0.0")
	listener, err := net.Listen("tcp4", "192.0.2.7:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	const client = 40002
	port := listener.Addr().(*net.TCPAddr).Port
	undo := markArriving(t, "eth0", 0x40, &expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: 1})
	forger.send(peer, self, unix.IPPROTO_TCP, syn(client, port, ""))
	undo()
	for range 3 {
		forger.send(peer, self, unix.IPPROTO_TCP, syn(client, port, ""))
	}
	if wire.saw(string(ports(port, client))) {
		t.Error("a reply left in clear")
	}
	forger.send(peer, self, unix.IPPROTO_TCP, syn(client+1, port, ""))
	if !wire.saw(string(ports(port, client+1))) {
		t.Error("another connection, which arrived in clear, was not answered there")
	}
}

// TestForgedMeshAddress has a host of the local network that sends with a mesh address, to a service
// at this machine's.
func TestForgedMeshAddress(t *testing.T) {
	k := open(t)
	wayOut(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))
	forger := intrude(t, "eth0", "far0")
	self := in.Identity.Address.Addr()
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: self.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	port := conn.LocalAddr().(*net.UDPAddr).Port
	forger.send(in.Identity.Subnet.Addr().Next(), self, unix.IPPROTO_UDP, datagram(4000, port, "forged"))
	local, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, uint16(port))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = local.Close() }()
	forger.send(netip.MustParseAddr("2001:db8:1::9"), self, unix.IPPROTO_UDP, datagram(4000, port, "of others"))
	buffer := make([]byte, 100)
	for _, want := range []string{"of others", "own"} {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buffer[:n]); got != want {
			t.Fatalf("%q came from %s, want %q", got, from, want)
		}
		if want == "of others" {
			if _, err := local.Write([]byte("own")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestForwardedIsNotWireGuards forwards packets from WireGuard's port that another program gives
// WireGuard's mark, after spanctl has seen them.
func TestForwardedIsNotWireGuards(t *testing.T) {
	k := open(t)
	wire := tapWire(t, wayOut(t))
	lan := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "lan1"}
	if err := netlink.LinkAdd(lan); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(lan) })
	end, err := netlink.LinkByName("lan1")
	if err == nil {
		err = errors.Join(netlink.AddrAdd(lan, mustAddr("198.51.100.1/24")), netlink.LinkSetUp(lan), netlink.LinkSetUp(end))
	}
	if err != nil {
		t.Fatal(err)
	}
	setForwarding(t)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(inputs(t, 1)))
	defer markArriving(t, "lan0", 0x20, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})()
	forger := intrude(t, "lan0", "lan1")
	host := netip.MustParseAddr("198.51.100.9")
	for _, port := range []int{4001, 51820} {
		forger.send(host, netip.MustParseAddr("10.0.0.0"), unix.IPPROTO_UDP, datagram(port, 7777, "canary"))
		if wire.sawBefore("canary", func(last string) error {
			forger.send(host, netip.MustParseAddr("203.0.113.9"), unix.IPPROTO_UDP, datagram(port, 7777, last))
			return nil
		}) {
			t.Errorf("a packet from port %d was forwarded in clear", port)
		}
	}
	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := live.Firewall.Dropped.Marked; got != 2 {
		t.Errorf("%d packets are counted, want 2", got)
	}
}

// markArriving makes another program's table that gives all that arrives over a link a mark: set
// takes it from the first register.
func markArriving(t *testing.T, link string, mark uint32, set expr.Any) (undo func()) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "marks", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "pre", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(10)})
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		set,
	}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() {
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	}
}
