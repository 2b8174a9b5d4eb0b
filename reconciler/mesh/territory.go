package mesh

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/spanmesh/span/schema"
)

// Connected is a network that a link of this machine is attached to.
type Connected struct {
	Link   string
	Prefix netip.Prefix
}

// Territory is what stays at this machine, whatever peers claim: its addresses, its gateways, the
// networks that it is attached to, and those that it advertises.
type Territory struct {
	// connected are the networks without those that the config routes.
	connected []Connected
	// links are the networks of each link, also those that the config routes.
	links map[string][]netip.Prefix
	// gateways are the gateways of default routes, with their links.
	gateways map[netip.Addr]string
	own      map[netip.Addr]bool
	// advertised are the networks behind this machine.
	advertised []netip.Prefix
	// protected are connected networks, gateways, own and special addresses.
	protected *netipx.IPSet
	filters   []schema.Filter
}

// NewTerritory returns what stays at a machine. Advertised are the networks that it publishes.
func NewTerritory(id Identity, host Host, k *schema.KubeSpan, advertised []netip.Prefix) *Territory {
	t := &Territory{links: map[string][]netip.Prefix{}, gateways: map[netip.Addr]string{}, own: map[netip.Addr]bool{},
		filters: k.Filters.PeerNetworks}
	var set netipx.IPSetBuilder
	// The mesh's own link may have another name for a while.
	ours := slices.IndexFunc(host.Connected, func(c Connected) bool { return c.Prefix == id.Subnet })
	for _, c := range host.Connected {
		if ours < 0 || c.Link != host.Connected[ours].Link {
			t.connect(&set, c.Link, c.Prefix)
		}
	}
	for _, link := range host.Links {
		for _, network := range link.Networks {
			t.connect(&set, link.Name, network)
		}
	}
	for _, routed := range k.RouteConnectedNetworks {
		set.RemovePrefix(routed)
		t.connected = slices.DeleteFunc(t.connected, func(c Connected) bool { return isInside(c.Prefix, routed) })
	}
	for _, address := range slices.Concat(host.Own, host.Addresses) {
		t.addOwn(&set, address)
	}
	for _, address := range k.Addresses {
		t.addOwn(&set, address.Addr())
	}
	if id.Address.IsValid() {
		t.addOwn(&set, id.Address.Addr())
	}
	for _, link := range host.Links {
		// One that the config names by itself is a peer's, such as a router that is a member.
		if gateway := link.Gateway.Unmap(); gateway.IsValid() && !slices.Contains(k.RouteConnectedNetworks, netip.PrefixFrom(gateway, gateway.BitLen())) {
			t.gateways[gateway] = link.Name
			set.Add(gateway)
		}
	}
	for _, s := range schema.Specials {
		set.AddPrefix(s.Prefix)
	}
	t.addAdvertised(advertised)
	t.protected, _ = set.IPSet() // all prefixes are valid
	return t
}

// connect adds a network of a link.
func (t *Territory) connect(set *netipx.IPSetBuilder, link string, network netip.Prefix) {
	network = network.Masked()
	if slices.Contains(t.links[link], network) || network.Addr().IsLinkLocalUnicast() {
		return
	}
	t.links[link] = append(t.links[link], network)
	set.AddPrefix(network)
	t.connected = append(t.connected, Connected{link, network})
}

// addAdvertised notes the networks that this machine advertises, which no peer gets. A default route
// of this machine excludes nothing. Its single addresses are protected already.
func (t *Territory) addAdvertised(advertised []netip.Prefix) {
	for _, network := range advertised {
		if network = schema.Unmap(network); !isDefaultRoute(network) && !network.IsSingleIP() {
			t.advertised = append(t.advertised, network.Masked())
		}
	}
}

func (t *Territory) addOwn(set *netipx.IPSetBuilder, address netip.Addr) {
	address = address.Unmap().WithZone("")
	t.own[address] = true
	set.Add(address)
}

// isInside reports whether p is outer or a part of it.
func isInside(p, outer netip.Prefix) bool {
	return outer.Bits() <= p.Bits() && outer.Contains(p.Addr())
}

// within returns the networks inside of a network that no peer gets: those behind this machine,
// and those that the filters exclude. Longer networks inside of what this machine advertises
// are left to peers.
func (t *Territory) within(network netip.Prefix) (parts []netip.Prefix) {
	for _, part := range t.advertised {
		if isInside(part, network) {
			parts = append(parts, part)
		}
	}
	return append(parts, t.excluded(network)...)
}

// excluded returns the parts of a network that filters.peerNetworks excludes, of a network that it
// lets in: the entries apply in order.
func (t *Territory) excluded(network netip.Prefix) []netip.Prefix {
	if !slices.ContainsFunc(t.filters, func(f schema.Filter) bool { return f.Exclude && f.Prefix.Overlaps(network) }) {
		return nil
	}
	var set netipx.IPSetBuilder
	for _, f := range t.filters {
		switch {
		case !f.Prefix.Overlaps(network):
		case f.Exclude:
			set.AddPrefix(f.Prefix)
		default:
			set.RemovePrefix(f.Prefix)
		}
	}
	var whole netipx.IPSetBuilder
	whole.AddPrefix(network)
	bounds, _ := whole.IPSet() // all prefixes are valid
	set.Intersect(bounds)
	parts, _ := set.IPSet()
	return parts.Prefixes()
}

// filter returns why the config does not let a peer's network in; empty if it does. As in
// schema.Passes, the last entry that contains the whole network decides.
func (t *Territory) filter(network netip.Prefix) (RefusalCause, string) {
	last, found := schema.Decisive(t.filters, network)
	switch {
	case found && last.Exclude:
		return Filtered, fmt.Sprintf("is refused by %s in filters.peerNetworks", last)
	case found:
		return Filtered, ""
	case len(t.filters) > 0:
		return Filtered, "is not in filters.peerNetworks"
	case isDefaultRoute(network):
		return DefaultRoute, "is a default route, which only filters.peerNetworks lets in"
	}
	return Filtered, ""
}

// refuseAddress returns why a protected address is not a peer's, if it is not.
func (t *Territory) refuseAddress(address netip.Addr, endpoints []netip.AddrPort, working netip.AddrPort, configured bool) (Refusal, bool) {
	link, isGateway := t.gateways[address]
	switch {
	case t.own[address]:
		return Refusal{Cause: OwnHere, Reason: "is this machine's own address"}, true
	case isGateway && working.Addr() != address:
		return Refusal{Cause: OnLink, Link: link, Local: netip.PrefixFrom(address, address.BitLen()),
			Reason: "is the gateway of the link " + link}, true
	case configured:
		return Refusal{}, false
	}
	var on *Connected
	for i := range t.connected {
		c := &t.connected[i]
		if !c.Prefix.Contains(address) {
			continue
		}
		if isEdge(c.Prefix, address) {
			return Refusal{Cause: Invalid, Link: c.Link, Local: c.Prefix,
				Reason: fmt.Sprintf("is not the address of a machine in %s", c.Prefix)}, true
		}
		if t.isAttached(c.Link, endpoints, working) {
			return Refusal{}, false
		}
		on = c
	}
	if on == nil {
		return Refusal{}, false // the config routes the network
	}
	return Refusal{Cause: OnLink, Link: on.Link, Local: on.Prefix,
		Reason: fmt.Sprintf("is in %s, the network of the link %s, and the peer is not reached there", on.Prefix, on.Link)}, true
}

// isEdge reports whether an address is the network's own or its broadcast address.
func isEdge(network netip.Prefix, address netip.Addr) bool {
	return address.Is4() && network.Bits() < address.BitLen()-1 &&
		(address == network.Addr() || address == netipx.PrefixLastIP(network))
}

// isAttached reports whether a peer is attached to the same network as a link. The endpoint at
// which it was last up must be in a network of the link, or any of its endpoints before it was
// up.
func (t *Territory) isAttached(link string, endpoints []netip.AddrPort, working netip.AddrPort) bool {
	if working.IsValid() {
		endpoints = []netip.AddrPort{working}
	}
	for _, e := range endpoints {
		if slices.ContainsFunc(t.links[link], func(n netip.Prefix) bool { return n.Contains(e.Addr()) }) {
			return true
		}
	}
	return false
}

// covered returns a refusal for each part of a network that stays local, other than this
// machine's own and special addresses, and what it advertises itself.
func (t *Territory) covered(network netip.Prefix) (refusals []Refusal) {
	add := func(link string, local netip.Prefix, what string) {
		if slices.ContainsFunc(t.advertised, func(own netip.Prefix) bool { return isInside(local, own) }) {
			return
		}
		refusals = append(refusals, Refusal{Prefix: network, Cause: CoversLAN, Link: link, Local: local,
			Reason: fmt.Sprintf("does not take %s, %s of the link %s", local, what, link)})
	}
	for _, c := range t.connected {
		if c.Prefix.Overlaps(network) && !c.Prefix.IsSingleIP() {
			add(c.Link, c.Prefix, "the network")
		}
	}
	for gateway, link := range t.gateways {
		if network.Contains(gateway) && !slices.ContainsFunc(t.connected, func(c Connected) bool { return c.Prefix.Contains(gateway) && !c.Prefix.IsSingleIP() }) {
			add(link, netip.PrefixFrom(gateway, gateway.BitLen()), "the gateway")
		}
	}
	slices.SortFunc(refusals, func(a, b Refusal) int { return ComparePrefixes(a.Local, b.Local) })
	return slices.CompactFunc(refusals, func(a, b Refusal) bool { return a.Local == b.Local })
}
