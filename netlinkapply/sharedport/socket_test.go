package sharedport

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// stun is a message by which the filter knows STUN, and other is none.
var (
	stun  = []byte("\x01\x01\x00\x00\x21\x12\xA4\x42the rest")
	other = []byte("\x04\x00\x00\x00 data of WireGuard")
)

// passing are messages that the filter lets through, and stopped are others.
var (
	passing = []string{string(stun), "Spn\x01\x01\x00\x00\x00 ping", "Spn\x01\x02 pong", "Spn\x01\x03", "Spn\x01\x07 answer"}
	stopped = []string{string(other), "", "Spn", "Spn\x01", "Spn\x01\x00 kind", "Spn\x01\x08 kind", "Spn\x02\x01 version", "spn\x01\x01 letter",
		"\x01\x01\x00\x00\x21\x12\xA4", "\x01\x01\x00\x00\x21\x12\xA4\x43 cookie"}
)

var loopbacks = map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"}

type received struct {
	from    netip.AddrPort
	payload string
}

// listen opens a socket of UDP.
func listen(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func addressOf(conn *net.UDPConn) netip.AddrPort { return conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func portOf(conn *net.UDPConn) uint16 { return addressOf(conn).Port() }

// share opens a Conn on a port, and returns what it receives.
func share(t testing.TB, port uint16) (*Conn, <-chan received) {
	t.Helper()
	c, err := Open(port, 0)
	if err != nil {
		t.Fatal(err)
	}
	taken, ended := make(chan received, 16), make(chan error, 1)
	go func() {
		ended <- c.Receive(func(from netip.AddrPort, payload []byte) { taken <- received{from, string(payload)} })
	}()
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return c, taken
}

// TestBesideAnotherSocket asks and is answered on the port of another socket, which loses nothing.
func TestBesideAnotherSocket(t *testing.T) {
	for name, loopback := range loopbacks {
		t.Run(name, func(t *testing.T) {
			wireguard, server := listen(t, "[::]:0"), listen(t, loopback)
			c, taken := share(t, portOf(wireguard))
			to := addressOf(server)
			if err := c.Send(to, stun, 0); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, maxDatagram)
			n, from, err := server.ReadFromUDPAddrPort(buffer) // the kernel has checked the checksum
			if err != nil || string(buffer[:n]) != string(stun) || from.Port() != portOf(wireguard) {
				t.Fatalf("the server got %q from %v: %v", buffer[:n], from, err)
			}
			// Of those that are stopped, none is received before the next that is not.
			all := slices.Concat(stopped, passing)
			for _, message := range all {
				if _, err := server.WriteToUDPAddrPort([]byte(message), from); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range passing {
				select {
				case got := <-taken:
					if got != (received{to, want}) {
						t.Errorf("received %q from %v, want %q", got.payload, got.from, want)
					}
				case <-time.After(patience):
					t.Fatalf("%q was not received", want)
				}
			}
			for _, want := range all {
				if n, _, err := wireguard.ReadFromUDPAddrPort(buffer); err != nil || string(buffer[:n]) != want {
					t.Errorf("the other socket got %q: %v", buffer[:n], err)
				}
			}
		})
	}
}

// TestHops has the hops of a datagram counted down from what was asked for.
func TestHops(t *testing.T) {
	for name, loopback := range loopbacks {
		t.Run(name, func(t *testing.T) {
			server := listen(t, loopback)
			hopsOf := hopsOf4(t, server)
			if name == "IPv6" {
				hopsOf = hopsOf6(t, server)
			}
			c, _ := share(t, 51820)
			usual := 0
			for _, hops := range []uint8{0, 1, 4, 255, 0} {
				if err := c.Send(addressOf(server), stun, hops); err != nil {
					t.Fatal(err)
				}
				got := hopsOf()
				if usual == 0 {
					usual = got
				}
				want := int(hops)
				if hops == 0 {
					want = usual
				}
				if got != want || usual < 30 {
					t.Errorf("sent with %d, received with %d; usual are %d", hops, got, usual)
				}
			}
		})
	}
}

func hopsOf4(t *testing.T, server *net.UDPConn) func() int {
	conn := ipv4.NewPacketConn(server)
	if err := conn.SetControlMessage(ipv4.FlagTTL, true); err != nil {
		t.Fatal(err)
	}
	return func() int {
		_, c, _, err := conn.ReadFrom(make([]byte, maxDatagram))
		if err != nil {
			t.Fatal(err)
		}
		return c.TTL
	}
}

func hopsOf6(t *testing.T, server *net.UDPConn) func() int {
	conn := ipv6.NewPacketConn(server)
	if err := conn.SetControlMessage(ipv6.FlagHopLimit, true); err != nil {
		t.Fatal(err)
	}
	return func() int {
		_, c, _, err := conn.ReadFrom(make([]byte, maxDatagram))
		if err != nil {
			t.Fatal(err)
		}
		return c.HopLimit
	}
}

// TestSourceOfTheMark has marked packets leave by another link.
func TestSourceOfTheMark(t *testing.T) {
	const mark, table = 0x20, 100
	link := func(name, address string) netlink.Link {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-far"}); err != nil {
			t.Fatal(err)
		}
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := netlink.ParseAddr(address)
		if err == nil {
			err = errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.LinkDel(l) })
		return l
	}
	tunnel, uplink := link("tunnel", "10.1.0.1/24"), link("uplink", "10.2.0.1/24")
	_, everything, err := net.ParseCIDR("203.0.113.0/24")
	if err != nil {
		t.Fatal(err)
	}
	rule := netlink.NewRule()
	rule.Mark, rule.Table = mark, table
	if err := errors.Join(netlink.RouteAdd(&netlink.Route{Dst: everything, LinkIndex: tunnel.Attrs().Index}),
		netlink.RouteAdd(&netlink.Route{Dst: everything, LinkIndex: uplink.Attrs().Index, Table: table}), netlink.RuleAdd(rule)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RuleDel(rule) })
	for of, want := range map[uint32]string{0: "10.1.0.1", mark: "10.2.0.1"} {
		c := &Conn{port: 1, mark: of}
		if got, err := c.source(netip.MustParseAddrPort("203.0.113.1:3478")); err != nil || got.String() != want {
			t.Errorf("with mark %#x the source is %v: %v", of, got, err)
		}
	}
}

func TestOpenWithoutRights(t *testing.T) {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			result <- err
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&header, &data[0]); err != nil {
			result <- err
			return
		}
		_, err := Open(51820, 0)
		result <- err
	}()
	if err := <-result; !errors.Is(err, ErrNotPermitted) {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}

func TestSendWithoutFamily(t *testing.T) {
	if err := new(Conn).Send(netip.MustParseAddrPort("[::1]:1"), stun, 0); !errors.Is(err, ErrNoFamily) {
		t.Error(err)
	}
}
