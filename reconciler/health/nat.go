package health

import (
	"fmt"
	"net/netip"
	"time"

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

// judgePortMappings finds what is wrong with the ports that the router maps.
func judgePortMappings(_ time.Time, s *Snapshot) (found []condition.Condition) {
	for _, m := range s.Outside.Router {
		if !s.Outside.IsBehindNAT(m) {
			continue
		}
		c := condition.Condition{Code: condition.PortMappingBehindNAT, Subject: m.Endpoint.String(),
			Cause:  fmt.Sprintf("the router maps it to UDP %d (%s), and %v is an address inside another NAT", s.Peers.Port, m.Protocol, m.Endpoint.Addr()),
			Remedy: fmt.Sprintf("make the router a bridge, or forward a UDP port of the NAT in front of it to %v; none, where peers are reached all the same", m.Endpoint)}
		if seen := s.Outside.IPv4.Address; seen.IsValid() {
			c.Cause = fmt.Sprintf("the router maps it to UDP %d (%s), and servers see this machine at %v: there is another NAT in front of the router", s.Peers.Port, m.Protocol, seen)
		}
		found = append(found, c)
	}
	for _, f := range s.Outside.RouterFaults {
		if f.Refused {
			found = append(found, condition.Condition{Code: condition.PortMappingRefused, Subject: f.Router.String(),
				Cause:  fmt.Sprintf("the router does not map UDP %d: %s", s.Peers.Port, f.Text),
				Remedy: fmt.Sprintf("allow it for this machine on the router, or forward UDP %d there; nat.portMapping: false asks no more", s.Peers.Port)})
		}
	}
	return found
}
