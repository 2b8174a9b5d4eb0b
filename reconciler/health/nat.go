package health

import (
	"fmt"
	"net/netip"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// mapping returns how the NAT in front of this machine maps its port, by all registries.
func (s *Snapshot) mapping() mesh.Mapping {
	var listed []netip.AddrPort
	for i := range s.Sessions {
		listed = append(listed, s.Sessions[i].Listed...)
	}
	return mesh.OwnMapping(listed, s.Peers.Announced, uint16(s.Peers.Port))
}

// symmetric returns the condition of a peer that was never reached, where the NATs of both ends give
// them another port for each peer.
func symmetric(p *Peer, here, there mesh.Mapping) condition.Condition {
	return condition.Condition{Code: condition.SymmetricNAT, Subject: p.Name,
		Cause: fmt.Sprintf("neither end keeps its port: the NAT at %v gives this machine another for each peer, and that at %v gives %s another",
			here.Address, there.Address, p.Name),
		Remedy: "set relay.offer on a third machine that both reach, and relay.use on both; or forward a UDP port at one of both"}
}
