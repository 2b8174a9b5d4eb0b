package health

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/mesh"
)

// TestRelaysAndNATs has what is wrong with blind relays, and with the router's port mappings.
func TestRelaysAndNATs(t *testing.T) {
	at := netip.MustParseAddrPort
	relay := func(url string, registered bool) Snapshot {
		return Snapshot{Relays: []BlindRelay{{Name: "r", Endpoints: []netip.AddrPort{at("192.0.2.1:51821"), at("[2001:db8::1]:51821")}, URL: url, Registered: registered}}}
	}
	joining := func(state SessionState, text string) Snapshot {
		return Snapshot{Sessions: []Session{{Registry: "service", URL: url, State: state, Since: start, NotJoined: failure.Failure{Class: failure.Answered, Text: text}}}}
	}
	mapped := func(outer, seen string) Snapshot {
		s := Snapshot{Peers: Peers{Port: 51820}, Outside: mesh.Outside{Router: []mesh.PortMapping{{Endpoint: at(outer), Protocol: "PCP"}}}}
		if seen != "" {
			s.Outside.IPv4 = mesh.Mapping{Kind: mesh.NATDependent, Address: netip.MustParseAddr(seen)}
		}
		return s
	}
	fault := func(refused bool) Snapshot {
		return Snapshot{Peers: Peers{Port: 51820}, Outside: mesh.Outside{RouterFaults: []mesh.PortMappingFault{
			{Router: netip.MustParseAddr("192.168.1.1"), Refused: refused, Text: "PCP: refused: not authorized; NAT-PMP: no answer"}}}}
	}
	for _, test := range []struct {
		name     string
		snapshot Snapshot
		want     string
	}{
		{"registered", relay("https://r/relay", true), ""},
		{"neither by UDP nor over TCP", relay("https://r/relay", false), "RelayUnreachable r: nothing comes from UDP 192.0.2.1:51821, [2001:db8::1]:51821, nor over TCP from https://r/relay: " +
			"let UDP out to 192.0.2.1:51821, [2001:db8::1]:51821, and open UDP 51821 at the relay; or let https://r/relay through"},
		{"not by UDP, and there is no TCP", relay("", false), "RelayUnreachable r: nothing comes from UDP 192.0.2.1:51821, [2001:db8::1]:51821: let UDP out"},

		{"joined", joining(Connected, ""), ""},
		{"refused", joining(Connected, "it answers: no room for another member"), "RelayNotJoined " + url + ": it answers: no room for another member: raise the limit"},
		{"the service is not reached", joining(Connecting, "no route"), ""},

		{"mapped", mapped("203.0.113.9:40001", "203.0.113.9"), ""},
		{"mapped, and no server has answered", mapped("203.0.113.9:40001", ""), ""},
		{"mapped in a network of the provider", mapped("100.64.7.9:40001", ""), "PortMappingBehindNAT 100.64.7.9:40001: the router maps it to UDP 51820 (PCP), and 100.64.7.9 is an address inside another NAT: make the router a bridge"},
		{"mapped in a private network", mapped("192.168.0.2:40001", "203.0.113.9"), "PortMappingBehindNAT 192.168.0.2:40001: the router maps it to UDP 51820 (PCP), and servers see this machine at 203.0.113.9"},
		{"mapped at an address that nobody sees", mapped("198.51.100.7:40001", "203.0.113.9"), "PortMappingBehindNAT 198.51.100.7:40001: "},
		{"mapped by IPv6", mapped("[2001:db8::5]:51820", "203.0.113.9"), ""},
		{"refused by the router", fault(true), "PortMappingRefused 192.168.1.1: the router does not map UDP 51820: PCP: refused: not authorized; NAT-PMP: no answer: allow it"},
		{"a router that maps no ports", fault(false), ""},
	} {
		var found []string
		for _, c := range Assess(start, test.snapshot, nil) {
			if c.Code != condition.NoOtherMembers {
				found = append(found, c.String())
			}
		}
		got := strings.Join(found, "\n")
		if !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

func TestOfferedRelay(t *testing.T) {
	if got := (OfferedRelay{Port: 51821, Members: 3, Registered: 2}).String(); got != "UDP 51821, 2 of 3 machines registered" {
		t.Errorf("%q", got)
	}
	if got := (OfferedRelay{}).String(); got != "" {
		t.Errorf("none is %q", got)
	}
}
