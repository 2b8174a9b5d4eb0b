package gateway

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/reconciler/portmap"
)

// TestClient maps, checks and releases by PCP and NAT-PMP.
func TestClient(t *testing.T) {
	at := netip.AddrPortFrom(fakeGateway, port)
	for _, c := range []struct {
		name     string
		protocol portmap.Protocol
		answer   func([]byte) [][]byte
		want     error
	}{
		{"PCP", portmap.PCP, servePCP, nil},
		{"NAT-PMP", portmap.NATPMP, serveNATPMP, nil},
		{"PCP of a gateway with NAT-PMP only", portmap.PCP, serveNATPMP, portmap.ErrUnsupported},
		{"a gateway without an outside address", portmap.PCP, func(request []byte) [][]byte {
			m := servePCP(request)
			put16(m[0][44:60], netip.IPv4Unspecified())
			return m
		}, errNoAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			serveUDP(t, at, func(request []byte) [][]byte {
				return slices.Concat([][]byte{nil, {1}, make([]byte, maxMessage+4)}, c.answer(request))
			})
			client := new(Client)
			answer, err := client.Do(t.Context(), fakeCall(portmap.Map, c.protocol))
			if !errors.Is(err, c.want) || c.want == nil && (answer.External != fakeOuter || answer.Lifetime != time.Hour) {
				t.Fatalf("the answer is %+v, %v", answer, err)
			}
			if c.want != nil {
				return
			}
			if answer.Epoch == nil || *answer.Epoch != 77*time.Second {
				t.Errorf("the gateway's time is %v", answer.Epoch)
			}
			for _, kind := range []portmap.Kind{portmap.Check, portmap.Release} {
				if _, err := client.Do(t.Context(), fakeCall(kind, c.protocol)); err != nil {
					t.Errorf("kind %d: %v", kind, err)
				}
			}
		})
	}
}

// TestOthersAreNotHeard has another host of the network answer in the gateway's place.
func TestOthersAreNotHeard(t *testing.T) {
	other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.3:5351")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	gateway, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(fakeGateway, port)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = gateway.Close() }()
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := gateway.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, m := range servePCP(buffer[:n]) {
				_, _ = other.WriteToUDPAddrPort(m, from)
			}
		}
	}()
	if answer, err := new(Client).Do(t.Context(), fakeCall(portmap.Map, portmap.PCP)); !errors.Is(err, portmap.ErrNoAnswer) {
		t.Errorf("the answer is %+v, %v", answer, err)
	}
}

// TestCannotAsk has a call from an address that the machine has no more: that is no refusal.
func TestCannotAsk(t *testing.T) {
	for _, protocol := range []portmap.Protocol{portmap.PCP, portmap.NATPMP, portmap.UPnP} {
		call := fakeCall(portmap.Map, protocol)
		call.Own = netip.MustParseAddr("192.168.1.5")
		if _, err := new(Client).Do(t.Context(), call); !errors.Is(err, portmap.ErrNoAnswer) {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestNoGatewayThere(t *testing.T) {
	begun := time.Now()
	_, err := new(Client).Do(t.Context(), fakeCall(portmap.Map, portmap.PCP))
	if !errors.Is(err, portmap.ErrNoAnswer) || time.Since(begun) > waits[0]*4 {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
}

// TestUPnP has a gateway that gives mappings for ever only, and one port to another machine.
func TestUPnP(t *testing.T) {
	igd := &fakeIGD{ports: map[string]string{}, taken: map[string]bool{"51820": true}}
	serveIGD(t, igd)
	client := new(Client)
	answer, err := client.Do(t.Context(), fakeCall(portmap.Map, portmap.UPnP))
	if err != nil || answer.External.Addr() != fakeOuter.Addr() || answer.External.Port() < firstFree || answer.Lifetime != 0 {
		t.Fatalf("the answer is %+v, %v", answer, err)
	}
	check, release := fakeCall(portmap.Check, portmap.UPnP), fakeCall(portmap.Release, portmap.UPnP)
	check.External, release.External = answer.External, answer.External
	if is, err := client.Do(t.Context(), check); err != nil || is.External != answer.External {
		t.Errorf("the check: %+v, %v", is, err)
	}
	if _, err := client.Do(t.Context(), release); err != nil || len(igd.ports) != 0 {
		t.Errorf("the release: %v, left are %v", err, igd.ports)
	}
	if _, err := client.Do(t.Context(), check); !errors.Is(err, portmap.ErrForgotten) {
		t.Errorf("the check after it: %v", err)
	}
}

// TestFind has a default route, and another one for marked packets.
func TestFind(t *testing.T) {
	if r := Find(true, 0); r.Gateway.IsValid() {
		t.Fatalf("without a route there is %+v", r)
	}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a0"}, PeerName: "b0"}
	address, err := netlink.ParseAddr("192.168.7.5/24")
	if err != nil {
		t.Fatal(err)
	}
	rule := netlink.NewRule()
	rule.Mark, rule.Table, rule.Priority = 32, 77, 100
	for _, err := range []error{netlink.LinkAdd(link), netlink.AddrAdd(link, address), netlink.LinkSetUp(link),
		netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 168, 7, 1)}), netlink.RuleAdd(rule),
		netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(192, 168, 7, 2), Table: 77})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	own := netip.MustParseAddr("192.168.7.5")
	for mark, gateway := range map[uint32]string{0: "192.168.7.1", 32: "192.168.7.2"} {
		if got, want := Find(true, mark), (Route{netip.MustParseAddr(gateway), own}); got != want {
			t.Errorf("with the mark %d: %+v, want %+v", mark, got, want)
		}
	}
}
