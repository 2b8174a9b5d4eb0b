package planprint

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spanmesh/span/reconciler/state"
)

// Change is a change of a plan as text.
type Change struct {
	Action state.Action
	// Kind is the kind of the object, one of Kinds.
	Kind string
	// ID identifies the object among those of its kind.
	ID string
	// Label is the name of a peer, if it is known.
	Label  string
	Fields []Field
}

// Kinds are the kinds of objects.
var Kinds = []string{"address", "link", "nftables", "peer", "route", "rule", "sysctl"}

// Field is a field that differs. An empty From or To means that it is not set.
type Field struct{ Name, From, To string }

// Object returns the kind and the ID.
func (c Change) Object() string { return c.Kind + " " + c.ID }

// signs begin the line of a change.
var signs = map[state.Action]string{state.Create: "+", state.Update: "~", state.Delete: "-"}

// String returns the change on one line.
func (c Change) String() string {
	var b strings.Builder
	b.WriteString(signs[c.Action] + " " + c.Object())
	if c.Label != "" {
		fmt.Fprintf(&b, " (%s)", c.Label)
	}
	for i, f := range c.Fields {
		b.WriteString([]string{": ", ", "}[min(i, 1)])
		switch {
		case c.Action == state.Create || f.From == "":
			fmt.Fprintf(&b, "%s %s", f.Name, f.To)
		case f.To == "":
			fmt.Fprintf(&b, "%s %s removed", f.Name, f.From)
		default:
			fmt.Fprintf(&b, "%s %s -> %s", f.Name, f.From, f.To)
		}
	}
	return b.String()
}

// Write prints the plan, one line a change.
func Write(w io.Writer, p state.Plan) error {
	for _, c := range p {
		if _, err := fmt.Fprintln(w, Describe(c)); err != nil {
			return err
		}
	}
	return nil
}

// Describe returns a change as text.
func Describe(c state.Change) Change {
	out := Change{Action: c.Action()}
	deleted := out.Action == state.Delete
	switch c := c.(type) {
	case state.LinkChange:
		out.Kind, out.ID = "link", pick(deleted, c.Old, c.New).Name
		out.Fields = linkFields(c)
	case state.PeerChange:
		peer := pick(deleted, c.Old, c.New)
		out.Kind, out.ID, out.Label = "peer", peer.PublicKey.String(), peer.Label
		out.Fields = peerFields(c)
	case state.AddressChange:
		out.Kind, out.ID = "address", pick(deleted, c.Old, c.New).String()
	case state.RouteChange:
		route := pick(deleted, c.Old, c.New)
		out.Kind, out.ID = "route", routeID(route)
		out.Fields = fields(changed("link", c.Old.Link, c.New.Link), changed("mtu", number(c.Old.MTU), number(c.New.MTU)))
	case state.RuleChange:
		rule := pick(deleted, c.Old, c.New)
		out.Kind, out.ID = "rule", ruleID(rule)
		out.Fields = fields(set("mark", mark(rule.Mark, rule.Mask)), set("table", number(rule.Table)))
	case state.FirewallChange:
		out.Kind, out.ID = "nftables", "inet "+tableName(pick(deleted, c.Old, c.New))
		out.Fields = firewallFields(c)
	case state.NetworksChange:
		out.Kind, out.ID = "nftables", "inet "+c.Table
		out.Fields = fields(set("networks added", prefixes(c.Added)), set("networks removed", prefixes(c.Removed)))
	case state.IPv6Change:
		out.Kind, out.ID = "sysctl", "net.ipv6.conf."+c.Link+".disable_ipv6"
		out.Fields = fields(set("value", "0"))
	case state.ReversePathChange:
		out.Kind, out.ID = "sysctl", "net.ipv4.conf."+c.Link+".rp_filter"
		out.Fields = fields(set("value", "2 (loose)"))
	}
	if deleted {
		out.Fields = nil
	}
	return out
}

func routeID(r state.Route) string {
	id := fmt.Sprintf("%s table %d", r.Destination, r.Table)
	if r.Type != state.Unicast {
		id = string(r.Type) + " " + id
	}
	return id
}

func ruleID(r state.Rule) string {
	id := fmt.Sprintf("%s %d", r.Family, r.Priority)
	if r.To.IsValid() {
		id += " to " + r.To.String()
	}
	return id
}

// tableName returns the name of the table that there is.
func tableName(f state.Firewall) string {
	names := append([]string{f.Table, f.Guard.Table}, f.Former...)
	return cmp.Or(names...)
}

// pick returns the object that a change is about.
func pick[T any](deleted bool, before, after T) T {
	if deleted {
		return before
	}
	return after
}
