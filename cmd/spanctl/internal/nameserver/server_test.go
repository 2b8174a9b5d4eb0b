package nameserver

import (
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

func TestDatagramsThatAreAnswered(t *testing.T) {
	const lo, meshLink, lan = 1, 7, 2
	d := &datagrams{links: [2]int{lo, meshLink}, own: netip.MustParseAddr("fd12:3456:789a:bcde::1"), zone: new(atomic.Pointer[Zone]),
		local: rate.NewLimiter(0, 3), mesh: rate.NewLimiter(0, 2)}
	d.zone.Store(testZone())
	from := func(address string) net.Addr {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 4000))
	}
	for _, c := range []struct {
		what, address string
		link          int
		want          bool
	}{
		{"a machine of the mesh", "fd12:3456:789a:bcde::2", meshLink, true},
		{"one that a LAN has forged", "fd12:3456:789a:bcde::2", lan, false},
		{"a machine of the LAN", "198.51.100.1", lan, false},
		{"a stranger in the mesh", "198.51.100.1", meshLink, false},
		{"loopback", "127.0.0.1", lo, true},
		{"loopback, of a LAN", "127.0.0.1", lan, false},
		{"this machine, at its own address", "fd12:3456:789a:bcde::1", meshLink, true},
		{"the last for the mesh", "192.0.2.9", meshLink, true},
		{"too many for the mesh", "fd12:3456:789a:bcde::2", meshLink, false},
		{"this machine meanwhile", "::1", lo, true},
		{"too many for this machine", "::1", lo, false},
	} {
		if d.takes(from(c.address), c.link) != c.want {
			t.Errorf("%s: want %v", c.what, c.want)
		}
	}
}

// TestListenWithoutItsAddress has an address that this machine does not have, and a link that is not there.
func TestListenWithoutItsAddress(t *testing.T) {
	zone := new(atomic.Pointer[Zone])
	zone.Store(testZone())
	if _, err := Listen(t.Context(), netip.MustParseAddr("fd12:3456:789a:bcde::1"), "lo", zone, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it listens")
	}
}

func TestOtherOpcodesAreNotDecoded(t *testing.T) {
	for bits, want := range map[uint16]dns.MsgAcceptAction{0: dns.MsgAccept, dns.OpcodeNotify << 11: dns.MsgRejectNotImplemented,
		dns.OpcodeUpdate << 11: dns.MsgRejectNotImplemented, 1 << 15: dns.MsgIgnore} {
		if got := accept(dns.Header{Bits: bits, Qdcount: 1}); got != want {
			t.Errorf("%x: %v, want %v", bits, got, want)
		}
	}
	if accept(dns.Header{Qdcount: 2}) != dns.MsgReject || accept(dns.Header{Qdcount: 1, Arcount: 100}) != dns.MsgReject {
		t.Error("messages with many records are decoded")
	}
}
