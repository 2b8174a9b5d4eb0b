package state

import (
	"fmt"
	"slices"
	"strings"
)

// Cuts says in words what traffic a plan cuts, a line each; none if it cuts none. What
// is new cuts nothing: it was not there before.
func (p Plan) Cuts() []string {
	var cuts []string
	made := map[string]bool{}
	for _, c := range p {
		made[c.Object.Kind()] = made[c.Object.Kind()] || c.Action == Create
	}
	for _, c := range p {
		cut := c.cuts(made)
		if _, whole := c.Object.(Link); whole && c.Action == Delete && !made[c.Object.Kind()] {
			return []string{cut} // and with it all the rest
		}
		if cut != "" {
			cuts = append(cuts, cut)
		}
	}
	return cuts
}

// cuts is what one change cuts. Made are the kinds that the plan makes anew, in place
// of what it removes.
func (c Change) cuts(made map[string]bool) string {
	gone := c.Action == Delete
	anew := made[c.Object.Kind()]
	switch object := c.Object.(type) {
	case Link:
		return c.cutsLink(object, anew)
	case Peer:
		return c.cutsPeer(object)
	case Address:
		if gone {
			return fmt.Sprintf("connections from and to %s: the address is removed", object.Addr())
		}
	case Route:
		if gone && !anew {
			return fmt.Sprintf("what the tunnel carries to %s: the route is removed", object.Destination)
		}
	case Rule:
		if gone && !anew {
			return fmt.Sprintf("all %s traffic through the mesh: the rule is removed", object.Family)
		}
	case Firewall:
		if gone {
			return fmt.Sprintf("all traffic through the mesh: nftables %s is removed", object.Table)
		}
	}
	return ""
}

func (c Change) cutsLink(l Link, anew bool) string {
	switch {
	case c.Action == Delete && anew:
		return fmt.Sprintf("all tunnels: link %s is made anew, each needs a handshake", l.Name)
	case c.Action == Delete:
		return fmt.Sprintf("all traffic through the mesh: link %s is removed", l.Name)
	case c.Action == Update && c.Has("privateKey"):
		return "all tunnels, until the peers know the new key: each needs a handshake"
	case c.Action == Update && c.Has("listenPort"):
		return "all tunnels for a moment: the peers hear of the new port by the next packet"
	default:
		return ""
	}
}

func (c Change) cutsPeer(p Peer) string {
	name := p.ID()
	if p.Label != "" {
		name = p.Label
	}
	switch {
	case c.Action == Delete:
		return fmt.Sprintf("all traffic with peer %s: it is removed", name)
	case c.Action == Update && c.Has("presharedKey"):
		return fmt.Sprintf("traffic with peer %s, until it has the new preshared key too", name)
	case c.Action != Update:
		return ""
	}
	for _, f := range c.Fields {
		if f.Name != "allowedIPs" {
			continue
		}
		now := strings.Fields(f.To)
		lost := slices.DeleteFunc(strings.Fields(f.From), func(network string) bool { return slices.Contains(now, network) })
		if len(lost) > 0 {
			return fmt.Sprintf("traffic with %s through peer %s", strings.Join(lost, ", "), name)
		}
	}
	return ""
}
