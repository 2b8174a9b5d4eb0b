package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// perFamily judges how this machine looks from outside, in each family of addresses.
func perFamily(f *Facts, check string, judge func(*Outside) Finding) []Finding {
	if f.Config == nil {
		return noConfig(check)
	}
	if len(f.Outside) == 0 {
		return one(Skip, check, "the config has no discovery service", "")
	}
	var found []Finding
	for i := range f.Outside {
		o := &f.Outside[i]
		why := o.Fault
		if why != "" && o.URL != "" {
			why = o.URL + " " + why
		}
		if why == "" {
			why = f.isInside(o)
		}
		if why != "" {
			found = append(found, Finding{Skip, check, why, ""})
			continue
		}
		found = append(found, judge(o))
	}
	return found
}

// isInside says why a service does not see this machine from outside; "" if it does.
func (f *Facts) isInside(o *Outside) string {
	_, here := f.Addresses[o.Remote]
	link := f.Addresses[o.Local]
	switch {
	case here || o.Remote.IsLoopback():
		return o.URL + " is on this machine, and does not see it from outside"
	case link != "" && link == f.Config.Link:
		return o.URL + " is reached through the mesh, and does not see this machine from outside"
	default:
		return ""
	}
}

// isForwarded reports whether the address that a service sees is that of something in front of the
// service rather than in front of this machine: a public service sees no private address.
func isForwarded(o *Outside) bool {
	return o.Seen.IsValid() && o.Seen != o.Local && isPrivate(o.Seen) && !isPrivate(o.Remote)
}

// isPrivate reports whether an address is of a network that is not the internet's (RFC 1918, 4193,
// 6598, 3927).
func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedNetwork.Contains(a)
}

// sharedNetwork is that of carriers behind NAT (RFC 6598).
var sharedNetwork = netip.MustParsePrefix("100.64.0.0/10")

// fromOutside judges whether UDP reaches WireGuard. What drops it matters as much as the peers need
// it: those that this machine calls get through to it without.
func fromOutside(f *Facts) []Finding {
	return perFamily(f, "udp", func(o *Outside) Finding {
		to := fmt.Sprintf("UDP %d (%s)", f.Config.ListenPort, o.Family)
		if o.Seen.IsValid() {
			to = fmt.Sprintf("UDP %d of %v", f.Config.ListenPort, o.Seen)
		}
		switch {
		case isForwarded(o):
			return Finding{Skip, "udp", fmt.Sprintf("%s sees %v, which is not this machine's and not public: something in front of that server hides its callers", o.URL, o.Seen), ""}
		case o.Sent == 0:
			return Finding{Skip, "udp", o.URL + " could send nothing: its own firewall lets no UDP out", ""}
		case o.Accepted >= o.Sent:
			return Finding{OK, "udp", fmt.Sprintf("%d of %d datagrams from outside reach %s", o.Accepted, o.Sent, to), ""}
		case o.Arrived == 0 && f.isMapped(o.Seen):
			return Finding{OK, "udp", fmt.Sprintf("none of %d datagrams to %s arrive here; peers use the port that the router maps", o.Sent, to), ""}
		case o.Arrived == 0:
			return f.needed(f.noneArrives(o, to))
		case o.Accepted == 0:
			return f.needed(Finding{Warn, "udp", fmt.Sprintf("%d of %d datagrams to %s arrive here, and this machine's firewall drops them", o.Arrived, o.Sent, to),
				fmt.Sprintf("open it here: `ufw allow %d/udp`, `firewall-cmd --permanent --add-port=%[1]d/udp`, or `udp dport %[1]d accept` in the input chain of nftables", f.Config.ListenPort)})
		case o.Accepted < o.Arrived:
			return Finding{Warn, "udp", fmt.Sprintf("%d of %d datagrams to %s arrive here, and this machine's firewall lets %d through", o.Arrived, o.Sent, to, o.Accepted),
				"look for a limit on rates in `nft list ruleset`"}
		default:
			return Finding{Warn, "udp", fmt.Sprintf("%d of %d datagrams to %s arrive here", o.Arrived, o.Sent, to), "try again: the network loses packets, or a limit on rates drops them"}
		}
	})
}

// noneArrives is the finding of datagrams that do not arrive. What is dropped at ingress is not
// counted as arrived.
func (f *Facts) noneArrives(o *Outside, to string) Finding {
	what := fmt.Sprintf("none of %d datagrams to %s arrive here: ", o.Sent, to)
	for _, c := range f.Host.Ingress {
		if c.Drops {
			return Finding{Warn, "udp", what + "the chain " + c.Name + " of this machine drops them at ingress",
				fmt.Sprintf("let UDP %d through there: `nft list chain %s`", f.Config.ListenPort, c.Name)}
		}
	}
	what += "the router or a firewall in front of this machine drops them, or that of " + o.URL
	if len(f.Host.Ingress) > 0 || f.Host.IngressHidden {
		what += ", or an ingress chain of this machine (`nft list ruleset`)"
	}
	return Finding{Warn, "udp", what, f.openInFront(o)}
}

// openInFront says how packets get past what is in front of this machine.
func (f *Facts) openInFront(o *Outside) string {
	if o.Seen.IsValid() && f.isOwn(o.Seen) {
		return fmt.Sprintf("open UDP %d there, such as in the security group of the cloud", f.Config.ListenPort)
	}
	return fmt.Sprintf("forward UDP %d on the router to this machine", f.Config.ListenPort)
}

// needed grades what drops UDP by the peers: it keeps the mesh from working if none is up, and is no
// fault if all are. Those that are up by a relay would have direct paths without it.
func (f *Facts) needed(drops Finding) Finding {
	up, relayed := 0, 0
	for _, p := range f.Peers {
		if p.Up {
			up++
		}
		if p.Relayed {
			relayed++
		}
	}
	switch {
	case len(f.Peers) == 0:
	case up+relayed == 0:
		drops.Grade = Fail
	case up == len(f.Peers):
		drops.Grade, drops.Remedy = OK, ""
		drops.What += "; all peers are up all the same, since this machine calls them"
	}
	return drops
}

func (f *Facts) isOwn(a netip.Addr) bool {
	_, own := f.Addresses[a]
	return own
}

// translation judges whether there is a NAT in front of this machine.
func translation(f *Facts) []Finding {
	if f.Config == nil {
		return noConfig("nat")
	}
	found := perFamily(f, "nat", func(o *Outside) Finding {
		switch {
		case !o.Seen.IsValid():
			return Finding{Skip, "nat", o.URL + " does not tell the address that it sees", ""}
		case isForwarded(o):
			return Finding{Skip, "nat", fmt.Sprintf("%s sees %v, which is not this machine's and not public: something in front of that server hides its callers", o.URL, o.Seen), ""}
		case f.isOwn(o.Seen):
			return Finding{OK, "nat", fmt.Sprintf("none: %s sees this machine's own address %v (%s)", o.URL, o.Seen, o.Family), ""}
		default:
			return Finding{OK, "nat", fmt.Sprintf("%s sees %v, and this machine has %v: there is a NAT (%s); %s", o.URL, o.Seen, o.Local, o.Family, f.portOf(o.Seen)), ""}
		}
	})
	if m := f.Mapping; m.Kind != mesh.NATUnknown && !slices.ContainsFunc(found, func(x Finding) bool { return x.Grade == OK }) {
		// Servers of STUN have told the agent.
		return append(found, one(OK, "nat", map[mesh.NAT]string{
			mesh.NATNone:        "none: servers of STUN see this machine's own address",
			mesh.NATIndependent: fmt.Sprintf("servers of STUN see this machine at %v: %s", m.Address, f.portOf(m.Address)),
			mesh.NATDependent:   fmt.Sprintf("servers of STUN see this machine at %v: %s", m.Address, f.portOf(m.Address)),
		}[m.Kind], "")...)
	}
	return found
}

// routerMapping returns the router's port mapping of the IP version of an outer address.
func (f *Facts) routerMapping(outer netip.Addr) (m mesh.PortMapping, found bool) {
	i := slices.IndexFunc(f.Router, func(m mesh.PortMapping) bool { return m.Endpoint.Addr().Is4() == outer.Is4() })
	if i < 0 {
		return m, false
	}
	return f.Router[i], true
}

// isMapped reports whether the router maps a port of an outer address, so that peers reach it.
func (f *Facts) isMapped(outer netip.Addr) bool {
	m, found := f.routerMapping(outer)
	return found && m.Endpoint.Addr() == outer
}

// routerText says what a port mapping of the router is worth.
func (f *Facts) routerText(m mesh.PortMapping) string {
	text := fmt.Sprintf("the router maps %v to UDP %d (%s), which is announced", m.Endpoint, f.Config.ListenPort, m.Protocol)
	if f.BehindNAT[m] {
		text += "; another NAT is in front of the router, so that only machines behind that one reach it"
	}
	return text
}

// portOf says how the NAT at an address maps the listen port. The server sees TCP, so that only servers
// of STUN and peers can tell.
func (f *Facts) portOf(outer netip.Addr) string {
	if m, found := f.routerMapping(outer); found {
		text := f.routerText(m)
		if m.Endpoint.Addr() != outer {
			text += "; " + f.keptPort(outer)
		}
		return text
	}
	return f.keptPort(outer)
}

// keptPort says whether the NAT at an address keeps the listen port.
func (f *Facts) keptPort(outer netip.Addr) string {
	m, port := f.Mapping, f.Config.ListenPort
	switch {
	case m.Kind == mesh.NATIndependent && len(m.Ports) == 1:
		return fmt.Sprintf("UDP %d is %v for everybody, which is announced", port, netip.AddrPortFrom(m.Address, m.Ports[0]))
	case m.Kind == mesh.NATDependent:
		return fmt.Sprintf("it gives UDP %d another port for each destination, so that peers behind such a NAT need a relay", port)
	case m.Address != outer || len(m.Ports) == 0:
		return fmt.Sprintf("no peer has told another port than %d (`harvestExtraEndpoints` makes them tell), and no two servers of STUN", port)
	case m.PerPeer():
		return fmt.Sprintf("it gives UDP %d another port for each peer, so that peers behind such a NAT need a relay", port)
	default:
		return fmt.Sprintf("UDP %d is seen at its port %d; whether everybody sees it there takes servers of STUN at two addresses", port, m.Ports[0])
	}
}
