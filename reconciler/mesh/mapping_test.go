package mesh_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

func addrPorts(text string) (all []netip.AddrPort) {
	for _, word := range strings.Fields(text) {
		all = append(all, netip.MustParseAddrPort(word))
	}
	return all
}

func TestMapping(t *testing.T) {
	const home = "192.168.1.5:51820 203.0.113.9:51820 "
	for _, c := range []struct {
		name string
		// listed are the endpoints in discovery, announced those of them that the machine published.
		listed, announced string
		// ports are what it is seen at by itself, peers by others.
		ports, peers []uint16
		perPeer      bool
	}{
		{"nothing is known", "", "", nil, nil, false},
		{"no peer has told", home, home, nil, nil, false},
		{"a NAT with one port", home + "203.0.113.9:40000", home, []uint16{40000}, []uint16{40000}, false},
		{"a NAT with a port for each peer", home + "203.0.113.9:2000 203.0.113.9:1000", home, []uint16{1000, 2000}, []uint16{1000, 2000}, true},
		{"a port that is forwarded", home + "203.0.113.9:4500", home + "203.0.113.9:4500", nil, []uint16{4500}, false},
		{"two addresses with a port each", home + "203.0.113.9:1000 198.51.100.1:2000", home, []uint16{2000}, []uint16{2000}, false},
		{"IPv6 beside it", home + "[2001:db8::1]:51820 203.0.113.9:2000 203.0.113.9:1000", home + "[2001:db8::1]:51820", []uint16{1000, 2000}, []uint16{1000, 2000}, true},
		{"an address that the machine does not know", "192.168.1.5:51820 203.0.113.9:40000", "192.168.1.5:51820", []uint16{40000}, []uint16{51820}, false},
		{"the same endpoint from several services", home + "203.0.113.9:40000 203.0.113.9:40000", home, []uint16{40000}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := mesh.OwnMapping(addrPorts(c.listed), addrPorts(c.announced), 51820)
			if !slices.Equal(own.Ports, c.ports) || own.PerPeer() != c.perPeer || own.Address.IsValid() != (len(c.ports) > 0) {
				t.Errorf("the machine's own is %+v, per peer %v", own, own.PerPeer())
			}
			if peers := mesh.PeerMapping(addrPorts(c.listed)); c.peers != nil && !slices.Equal(peers.Ports, c.peers) || peers.PerPeer() != c.perPeer {
				t.Errorf("that of a peer is %+v, per peer %v", peers, peers.PerPeer())
			}
		})
	}
}
