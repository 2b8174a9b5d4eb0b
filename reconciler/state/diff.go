package state

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Diff compares the desired document with the live one. The plan's order is
// safe to carry out: packets are sent into the tunnel only once it exists, and
// no longer before it goes.
func Diff(desired, live State) Plan {
	var p Plan
	p.deleteRules(desired, live)
	if desired.Firewall.Table == "" && live.Firewall.Table != "" {
		p.add(Change{Action: Delete, Object: live.Firewall})
	}
	if desired.Link.Name == "" {
		p.routes(desired, live)
		if live.Link.Name != "" {
			p.add(Change{Action: Delete, Object: live.Link})
		}
		return p
	}
	p.link(desired.Link, live.Link)
	p.peers(desired.Peers, live.Peers)
	p.addresses(desired, live)
	p.routes(desired, live)
	p.firewall(desired.Firewall, live.Firewall)
	p.createRules(desired, live)
	if live.StrictReversePath {
		p.add(Change{Action: Update, Object: ReversePath{Link: desired.Link.Name}, Fields: fields(set("value", "2 (loose)"))})
	}
	return p
}

func (p *Plan) deleteRules(desired, live State) {
	for _, r := range live.Rules {
		if !slices.Contains(desired.Rules, r) {
			p.add(Change{Action: Delete, Object: r})
		}
	}
}

func (p *Plan) createRules(desired, live State) {
	for _, r := range desired.Rules {
		if !slices.Contains(live.Rules, r) {
			p.add(Change{Action: Create, Object: r, Fields: fields(
				set("mark", mark(r.Mark, r.Mask)), set("table", strconv.Itoa(r.Table)))})
		}
	}
}

func (p *Plan) link(desired, live Link) {
	list := fields(
		differs("mtu", number(live.MTU), number(desired.MTU)),
		differs("privateKey", keyName(live.PrivateKey.Public()), keyName(desired.PrivateKey.Public())),
		differs("listenPort", number(live.ListenPort), number(desired.ListenPort)),
		differs("firewallMark", hex(live.FirewallMark), hex(desired.FirewallMark)),
		differs("up", flag(live.Up), flag(desired.Up)),
	)
	switch {
	case live.Name == "":
		p.add(Change{Action: Create, Object: desired, Fields: list})
	case len(list) > 0:
		p.add(Change{Action: Update, Object: desired, Fields: list})
	}
}

// peers walks both lists, which are in the order of keys.
func (p *Plan) peers(desired, live []Peer) {
	var gone, changed, created []Change
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
			created = append(created, Change{Action: Create, Object: desired[0], Fields: peerFields(desired[0], Peer{})})
			desired = desired[1:]
		case order > 0:
			gone = append(gone, Change{Action: Delete, Object: live[0]})
			live = live[1:]
		default:
			if list := peerFields(desired[0], live[0]); len(list) > 0 {
				changed = append(changed, Change{Action: Update, Object: desired[0], Fields: list})
			}
			desired, live = desired[1:], live[1:]
		}
	}
	// What one peer holds is freed before another takes it.
	p.add(gone...)
	p.add(changed...)
	p.add(created...)
}

func peerFields(desired, live Peer) []Field {
	var list []Field
	if desired.PresharedKey != live.PresharedKey {
		list = append(list, Field{Name: "presharedKey", From: keySet(live.PresharedKey), To: keySet(desired.PresharedKey)})
	}
	list = append(list, fields(differs("keepalive", seconds(live.Keepalive), seconds(desired.Keepalive)))...)
	if !slices.Equal(desired.AllowedIPs, live.AllowedIPs) {
		list = append(list, Field{Name: "allowedIPs", From: prefixes(live.AllowedIPs), To: prefixes(desired.AllowedIPs)})
	}
	wanted := desired.Endpoint
	if wanted.IsValid() && wanted != live.Endpoint && (desired.Redirect || !live.Endpoint.IsValid()) {
		list = append(list, Field{Name: "endpoint", From: endpoint(live.Endpoint), To: endpoint(wanted)})
	}
	return list
}

func (p *Plan) addresses(desired, live State) {
	for _, a := range live.Addresses {
		if !slices.Contains(desired.Addresses, a) {
			p.add(Change{Action: Delete, Object: Address{Prefix: a, Link: desired.Link.Name}})
		}
	}
	for _, a := range desired.Addresses {
		if !slices.Contains(live.Addresses, a) {
			p.add(Change{Action: Create, Object: Address{Prefix: a, Link: desired.Link.Name}})
		}
	}
}

func (p *Plan) routes(desired, live State) {
	have := make(map[routeKey]Route, len(live.Routes))
	for _, r := range live.Routes {
		have[r.key()] = r
	}
	for _, r := range desired.Routes {
		old, exists := have[r.key()]
		delete(have, r.key())
		list := fields(differs("link", old.Link, r.Link), differs("mtu", number(old.MTU), number(r.MTU)))
		switch {
		case !exists:
			p.add(Change{Action: Create, Object: r, Fields: list})
		case len(list) > 0:
			p.add(Change{Action: Update, Object: r, Fields: list})
		}
	}
	for _, r := range live.Routes {
		if _, left := have[r.key()]; left {
			p.add(Change{Action: Delete, Object: r})
		}
	}
}

func (p *Plan) firewall(desired, live Firewall) {
	if live.Table == "" {
		p.add(Change{Action: Create, Object: desired, Fields: fields(
			set("chains", strconv.Itoa(len(desired.Chains))), set("networks", prefixes(desired.Networks)))})
		return
	}
	if list := chainFields(desired.Chains, live.Chains); len(list) > 0 {
		p.add(Change{Action: Update, Object: desired, Fields: list})
		return
	}
	add, remove := without(desired.Networks, live.Networks), without(live.Networks, desired.Networks)
	if len(add)+len(remove) > 0 {
		p.add(Change{Action: Update, Object: Networks{Table: desired.Table, Add: add, Remove: remove}, Fields: fields(
			set("networks added", prefixes(add)), set("networks removed", prefixes(remove)))})
	}
}

func chainFields(desired, live []Chain) []Field {
	have := make(map[string]Chain, len(live))
	for _, c := range live {
		have[c.Name] = c
	}
	var list []Field
	for _, c := range desired {
		old, exists := have[c.Name]
		delete(have, c.Name)
		if !exists || old.Type != c.Type || old.Hook != c.Hook || old.Priority != c.Priority {
			list = append(list, Field{Name: c.Name, From: chainName(old), To: chainName(c)})
		}
		if !slices.Equal(old.Statements, c.Statements) {
			list = append(list, Field{Name: c.Name + " rules", From: statements(old.Statements), To: statements(c.Statements)})
		}
	}
	for _, c := range live {
		if _, left := have[c.Name]; left {
			list = append(list, Field{Name: c.Name, From: chainName(c)})
		}
	}
	return list
}

// without is a minus b; both are in canonical order.
func without(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, prefix := range a {
		if _, found := slices.BinarySearchFunc(b, prefix, comparePrefixes); !found {
			out = append(out, prefix)
		}
	}
	return out
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
