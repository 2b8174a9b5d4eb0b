package state

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Action is what a change does to its object.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
)

// Object is what a change is about: Link, Address, Route, Rule, Firewall,
// Networks, ReversePath or Peer. In a Delete it is the live object, else the desired one.
type Object interface {
	// Kind is the object's kind in small letters, ID tells it apart within.
	Kind() string
	ID() string
}

// Address is an address on a link.
type Address struct {
	netip.Prefix
	Link string
}

// Networks is a change of the routed networks of a firewall table.
type Networks struct {
	Table       string
	Add, Remove []netip.Prefix
}

// ReversePath is the kernel's check of where packets on a link come from.
type ReversePath struct{ Link string }

// Kind and ID implement Object.
func (Link) Kind() string        { return "link" }
func (l Link) ID() string        { return l.Name }
func (Address) Kind() string     { return "address" }
func (a Address) ID() string     { return a.String() }
func (Route) Kind() string       { return "route" }
func (r Route) ID() string       { return fmt.Sprintf("%s table %d", r.Destination, r.Table) }
func (Rule) Kind() string        { return "rule" }
func (r Rule) ID() string        { return fmt.Sprintf("%s %d", r.Family, r.Priority) }
func (Firewall) Kind() string    { return "nftables" }
func (f Firewall) ID() string    { return "inet " + f.Table }
func (Networks) Kind() string    { return "nftables" }
func (n Networks) ID() string    { return "inet " + n.Table }
func (ReversePath) Kind() string { return "sysctl" }
func (r ReversePath) ID() string { return "net.ipv4.conf." + r.Link + ".rp_filter" }
func (Peer) Kind() string        { return "peer" }
func (p Peer) ID() string        { return p.PublicKey.String() }

// Field is one field that differs. An empty side means that it is not set.
type Field struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Change is one step of a plan.
type Change struct {
	Action Action
	Object Object
	Fields []Field
}

// Has tells whether the change touches the named field.
func (c Change) Has(field string) bool {
	for _, f := range c.Fields {
		if f.Name == field {
			return true
		}
	}
	return false
}

// signs are the marks that begin a change's line.
var signs = map[Action]string{Create: "+", Update: "~", Delete: "-"}

// String is the change on one line.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", signs[c.Action], c.Object.Kind(), c.Object.ID())
	if p, ok := c.Object.(Peer); ok && p.Label != "" {
		fmt.Fprintf(&b, " (%s)", p.Label)
	}
	for i, f := range c.Fields {
		b.WriteString([]string{": ", ", "}[min(i, 1)])
		switch {
		case c.Action == Create || f.From == "":
			fmt.Fprintf(&b, "%s %s", f.Name, f.To)
		case f.To == "":
			fmt.Fprintf(&b, "%s %s removed", f.Name, f.From)
		default:
			fmt.Fprintf(&b, "%s %s -> %s", f.Name, f.From, f.To)
		}
	}
	return b.String()
}

// Result says how far a plan got.
type Result struct {
	// Done was carried out, NotDone was not; Failed is the change, first of
	// NotDone, at which Err came up.
	Done, NotDone Plan
	Failed        *Change
	Err           error
}

// Plan is the ordered list of changes that lead from the live state to the
// desired one.
type Plan []Change

func (p *Plan) add(changes ...Change) { *p = append(*p, changes...) }

// Write prints the plan, one line a change.
func (p Plan) Write(w io.Writer) error {
	for _, c := range p {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	return nil
}

// The helpers below name and format the fields of changes.

func set(name, value string) Field { return Field{Name: name, To: value} }

func differs(name, from, to string) Field {
	if from == to {
		return Field{}
	}
	return Field{Name: name, From: from, To: to}
}

// fields leaves out what does not differ.
func fields(list ...Field) []Field {
	var out []Field
	for _, f := range list {
		if f.Name != "" && f.From != f.To {
			out = append(out, f)
		}
	}
	return out
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func hex(n uint32) string { return fmt.Sprintf("%#x", n) }

func flag(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func mark(mark, mask uint32) string { return fmt.Sprintf("%#x/%#x", mark, mask) }

// keyName stands for a private key: the public half tells keys apart.
func keyName(public mesh.Key) string {
	if public.IsZero() {
		return ""
	}
	return fmt.Sprintf("(hidden, public %s)", public)
}

// keySet stands for a preshared key.
func keySet(k mesh.PrivateKey) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

func endpoint(e netip.AddrPort) string {
	if !e.IsValid() {
		return ""
	}
	return e.String()
}

// maxListed is how many items of a list a line shows.
const maxListed = 8

func prefixes(list []netip.Prefix) string { return listed(list, netip.Prefix.String) }

func statements(list []Statement) string {
	return listed(list, func(s Statement) string { return "[" + s.String() + "]" })
}

// listed joins items for a line of output; the typed object has them all.
func listed[T any](list []T, show func(T) string) string {
	shown := make([]string, 0, min(len(list), maxListed))
	for _, item := range list[:min(len(list), maxListed)] {
		shown = append(shown, show(item))
	}
	text := strings.Join(shown, " ")
	if more := len(list) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func chainName(c Chain) string {
	if c.Name == "" {
		return ""
	}
	return fmt.Sprintf("type %s hook %s priority %d", cmp.Or(c.Type, "none"), cmp.Or(c.Hook, "none"), c.Priority)
}
