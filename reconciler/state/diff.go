package state

import (
	"net/netip"
	"slices"
)

// Diff compares the desired document with the live one. The plan's order is
// safe to carry out: packets are marked for the tunnel only once it exists and a rule leads
// the marked packets there. They are no longer marked before both go. A rule that another
// replaces goes last, so that no packet falls between the two.
//
// Both must be in canonical order; see Normalize.
func Diff(desired, live State) Plan {
	var p Plan
	if desired.Link.Name == "" {
		if live.Firewall.exists() {
			p.add(FirewallChange{Old: live.Firewall})
		}
		p.deleteRules(desired, live)
		p.routes(desired, live)
		if live.Link.Name != "" {
			p.add(LinkChange{Old: live.Link})
		}
		return p
	}
	// A link with a new name comes up behind its own tables: the former ones take what arrives
	// over it for connections from outside, whose replies leave in clear.
	renamed := live.Link.Name == "" && len(live.Firewall.Former) > 0
	if renamed {
		p.firewall(desired.Firewall, live.Firewall)
	}
	if c := (LinkChange{Old: live.Link, New: desired.Link}); c.differs() {
		p.add(c)
		live.Routes = moved(live.Routes, c)
	}
	if live.IPv6Off {
		p.add(IPv6Change{Link: desired.Link.Name})
	}
	p.peers(desired.Peers, live.Peers)
	p.addresses(desired, live)
	p.routes(desired, live)
	p.createRules(desired, live)
	if !renamed {
		p.firewall(desired.Firewall, live.Firewall)
	}
	p.deleteRules(desired, live)
	if live.StrictReversePath {
		p.add(ReversePathChange{Link: desired.Link.Name})
	}
	return p
}

// moved returns routes as they are once a link has its name back.
func moved(routes []Route, c LinkChange) []Route {
	if !c.Renames() {
		return routes
	}
	routes = slices.Clone(routes)
	for i := range routes {
		if routes[i].Link == c.Old.Name {
			routes[i].Link = c.New.Name
		}
	}
	return routes
}

func (p *Plan) add(c Change) { *p = append(*p, c) }

func (p *Plan) deleteRules(desired, live State) {
	for _, r := range live.Rules {
		if !slices.Contains(desired.Rules, r) {
			p.add(RuleChange{Old: r})
		}
	}
}

func (p *Plan) createRules(desired, live State) {
	for _, r := range desired.Rules {
		if !slices.Contains(live.Rules, r) {
			p.add(RuleChange{New: r})
		}
	}
}

// peers walks both lists, which are in the order of keys.
func (p *Plan) peers(desired, live []Peer) {
	var changed, created Plan
	t := newTakings(desired, live)
	for len(desired) > 0 || len(live) > 0 {
		order := -1
		switch {
		case len(desired) == 0:
			order = 1
		case len(live) > 0:
			order = desired[0].PublicKey.Compare(live[0].PublicKey)
		}
		switch {
		case order < 0:
			created.add(t.of(PeerChange{New: desired[0]}))
			desired = desired[1:]
		case order > 0:
			p.add(PeerChange{Old: live[0]})
			live = live[1:]
		case desired[0].Renew:
			old := live[0]
			old.Renew = true
			p.add(PeerChange{Old: old})
			created.add(PeerChange{New: desired[0]})
			desired, live = desired[1:], live[1:]
		default:
			if unlike(&live[0], &desired[0]) {
				changed.add(t.of(PeerChange{Old: live[0], New: desired[0]}))
			}
			desired, live = desired[1:], live[1:]
		}
	}
	// Deletions come first: allowed IPs that one peer has are free before another takes them.
	*p = slices.Concat(*p, changed, created)
}

func (p *Plan) addresses(desired, live State) {
	on := func(a netip.Prefix) Address { return Address{Prefix: a, Link: desired.Link.Name} }
	for _, a := range live.Addresses {
		if !slices.Contains(desired.Addresses, a) {
			p.add(AddressChange{Old: on(a)})
		}
	}
	for _, a := range desired.Addresses {
		if !slices.Contains(live.Addresses, a) {
			p.add(AddressChange{New: on(a)})
		}
	}
}

func (p *Plan) routes(desired, live State) {
	have := make(map[routeKey]Route, len(live.Routes))
	for _, r := range live.Routes {
		have[r.key()] = r
	}
	for _, r := range desired.Routes {
		if old := have[r.key()]; old != r {
			p.add(RouteChange{Old: old, New: r})
		}
		delete(have, r.key())
	}
	for _, r := range live.Routes {
		if _, left := have[r.key()]; left {
			p.add(RouteChange{Old: r})
		}
	}
}

func (p *Plan) firewall(desired, live Firewall) {
	if desired.Table != live.Table || desired.Guard.Table != live.Guard.Table || len(live.Former) > 0 ||
		!sameChains(desired.Chains, live.Chains) || !sameChains(desired.Guard.Chains, live.Guard.Chains) {
		p.add(FirewallChange{Old: live, New: desired})
		return
	}
	main := NetworksChange{Table: desired.Table, Added: Missing(desired.Networks, live.Networks), Removed: Missing(live.Networks, desired.Networks)}
	if slices.Equal(live.Networks, live.Guard.Networks) {
		main.Guard = desired.Guard.Table
		p.networks(main)
		return
	}
	p.networks(main)
	p.networks(NetworksChange{Table: desired.Guard.Table, Added: Missing(desired.Guard.Networks, live.Guard.Networks),
		Removed: Missing(live.Guard.Networks, desired.Guard.Networks)})
}

// networks adds a change that is not empty.
func (p *Plan) networks(c NetworksChange) {
	if len(c.Added)+len(c.Removed) > 0 {
		p.add(c)
	}
}

func sameChains(a, b []Chain) bool {
	return slices.EqualFunc(a, b, func(a, b Chain) bool {
		return a.Name == b.Name && a.Type == b.Type && a.Hook == b.Hook && a.Priority == b.Priority && slices.Equal(a.Statements, b.Statements)
	})
}

// Missing returns the networks of a that b does not have; both are in canonical order.
func Missing(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, prefix := range a {
		for len(b) > 0 && comparePrefixes(b[0], prefix) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != prefix {
			out = append(out, prefix)
		}
	}
	return out
}
