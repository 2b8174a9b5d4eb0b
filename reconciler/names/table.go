package names

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// MaxAddresses is how many addresses of a machine are under its names.
const MaxAddresses = 16

// Member is a machine or a static peer.
type Member struct {
	// NodeID is its ID in discovery, which no other has.
	NodeID string
	// Hostname and Nodename are what it calls itself; either may be empty.
	Hostname, Nodename string
	// Addresses are its own in the mesh, which no other has. A member without one asks for no name.
	Addresses []netip.Addr
}

// Equal reports whether both are the same.
func (m Member) Equal(o Member) bool {
	return m.NodeID == o.NodeID && m.Hostname == o.Hostname && m.Nodename == o.Nodename && slices.Equal(m.Addresses, o.Addresses)
}

// labels returns the labels that a member asks for, the usual one first.
func (m *Member) labels() (labels []string) {
	if len(m.Addresses) == 0 {
		return nil
	}
	for _, name := range []string{m.Hostname, m.Nodename} {
		if label, ok := Label(name); ok && !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	return labels
}

// Host is a member that has a name.
type Host struct {
	NodeID string
	// Labels are its names without the domain, the usual one first.
	Labels []string
	// Addresses are sorted.
	Addresses []netip.Addr
}

// Table has the names of a mesh.
type Table struct {
	// Domain is that of all names, without a dot at its end.
	Domain string
	// Hosts are sorted by their usual name.
	Hosts []Host
	// Unnamed are the node IDs of the members that have no name, sorted.
	Unnamed []string

	byLabel   map[string]int
	byPointer map[string]int
}

// Make returns the names of members in a domain.
func Make(domain string, members []Member) *Table {
	t := &Table{Domain: domain, byLabel: make(map[string]int, len(members)), byPointer: make(map[string]int, len(members))}
	granted := grant(members)
	for i := range members {
		m := &members[i]
		h := Host{NodeID: m.NodeID, Labels: granted[i]}
		if len(h.Labels) == 0 {
			t.Unnamed = append(t.Unnamed, m.NodeID)
			continue
		}
		h.Addresses = slices.SortedFunc(slices.Values(m.Addresses), netip.Addr.Compare)
		h.Addresses = slices.Compact(h.Addresses)
		h.Addresses = h.Addresses[:min(len(h.Addresses), MaxAddresses)]
		t.Hosts = append(t.Hosts, h)
	}
	slices.Sort(t.Unnamed)
	slices.SortFunc(t.Hosts, func(a, b Host) int { return cmp.Compare(a.Labels[0], b.Labels[0]) })
	for i := range t.Hosts {
		for _, label := range t.Hosts[i].Labels {
			t.byLabel[label] = i
		}
		for _, a := range t.Hosts[i].Addresses {
			t.byPointer[PointerName(a)] = i
		}
	}
	return t
}

// wish is a label that a member asks for, and the one that it has instead where others do too.
type wish struct{ label, suffixed string }

// grant returns the labels that each member has.
func grant(members []Member) [][]string {
	wishes, asked := make([][]wish, len(members)), make(map[string]int, len(members))
	for i := range members {
		for _, label := range members[i].labels() {
			wishes[i] = append(wishes[i], wish{label: label})
			asked[label]++
		}
	}
	// suffixed are how many members have a label in place of one that several ask for.
	suffixed := map[string]int{}
	for i := range members {
		var before string
		for j := range wishes[i] {
			if w := &wishes[i][j]; asked[w.label] > 1 {
				if w.suffixed = Suffixed(w.label, members[i].NodeID); w.suffixed != before {
					suffixed[w.suffixed]++
				}
				before = w.suffixed
			}
		}
	}
	granted := make([][]string, len(members))
	for i := range members {
		for _, w := range wishes[i] {
			label, most := w.label, 0
			if w.suffixed != "" {
				label, most = w.suffixed, 1
			}
			if suffixed[label] <= most && !slices.Contains(granted[i], label) {
				granted[i] = append(granted[i], label)
			}
		}
	}
	return granted
}

// Lookup returns the machine with a name in the domain. The name is compared without regard to case,
// and may have a dot at its end.
func (t *Table) Lookup(name string) (h Host, found bool) {
	label, domain, _ := strings.Cut(strings.TrimSuffix(name, "."), ".")
	if !strings.EqualFold(domain, t.Domain) {
		return h, false
	}
	i, found := t.byLabel[strings.ToLower(label)]
	if found {
		h = t.Hosts[i]
	}
	return h, found
}

// Pointer returns the machine with the address that a name below ip6.arpa or in-addr.arpa means.
func (t *Table) Pointer(name string) (h Host, found bool) {
	i, found := t.byPointer[strings.ToLower(strings.TrimSuffix(name, "."))]
	if found {
		h = t.Hosts[i]
	}
	return h, found
}

// Name returns a label in the domain.
func (t *Table) Name(label string) string { return label + "." + t.Domain }

// Equal reports whether both have the same names. Either may be nil, which has none.
func (t *Table) Equal(o *Table) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Domain == o.Domain && slices.Equal(t.Unnamed, o.Unnamed) && slices.EqualFunc(t.Hosts, o.Hosts, func(a, b Host) bool {
		return a.NodeID == b.NodeID && slices.Equal(a.Labels, b.Labels) && slices.Equal(a.Addresses, b.Addresses)
	})
}
