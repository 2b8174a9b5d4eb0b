package health

import (
	"fmt"
	"net/netip"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// mapping returns how the NAT in front of this machine maps its port, by the servers that were asked,
// or else by all registries.
func (s *Snapshot) mapping() mesh.Mapping {
	var listed []netip.AddrPort
	for i := range s.Sessions {
		listed = append(listed, s.Sessions[i].Listed...)
	}
	return s.Outside.Or(mesh.OwnMapping(listed, s.Peers.Announced, uint16(s.Peers.Port)))
}

// minObservers is how many machines must be reached directly for it to show in discovery that a NAT
// gives each another port.
const minObservers = 2

// observers returns how many peers are reached directly, and so see at which port this machine sends.
func (p *Peers) observers() int {
	n := p.Up - p.Blind
	for i := range p.Notable {
		if p.Notable[i].Relay != "" {
			n--
		}
	}
	return n
}

// isSymmetric reports whether the NATs of both ends may be why a peer was never reached. Discovery does
// not tell who has published an endpoint, and each member can publish any: what counts is known of this
// end by packets that left it, and machines that it reaches.
func isSymmetric(p *Peer, peers *Peers, here, there mesh.Mapping) bool {
	return here.PerPeer() && there.PerPeer() && peers.observers() >= minObservers && p.Contact.SentBytes > 0
}

// symmetric returns the condition of a peer that was never reached, where the NATs of both ends give
// them another port for each peer. What is known of the peer by packets stays in it.
func symmetric(p *Peer, peers *Peers, here, there mesh.Mapping) condition.Condition {
	c := unreachable(p, peers)
	c.Code = condition.SymmetricNAT
	c.Cause += fmt.Sprintf("; by the endpoints that machines have published, neither end keeps its port: the NAT at %v gives this machine another for each peer, and that at %v gives %s another",
		here.Address, there.Address, p.Name)
	c.Remedy = "give a discovery server --relay, or set relay.offer on a third machine that both reach; or forward a UDP port at one of both; if a firewall is the cause, " + c.Remedy
	return c
}
