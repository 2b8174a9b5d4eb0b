package agent

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/names"
	"github.com/spanmesh/span/reconciler/resource"
)

// nameRoster follows what the names of machines depend on. A change costs as much as it is large.
type nameRoster struct {
	// self is the node ID of this machine, whose addresses nobody else has.
	self string
	// asking are those that may have names, by node ID, and allowed the allowed IPs of peers, by key.
	asking  map[string]nameAsker
	allowed map[string][]netip.Prefix
	// nodes are the node IDs of those with a key.
	nodes map[string][]string
	// members are those who ask for names, by node ID.
	members map[string]names.Member
	// changed is set when members has changed.
	changed bool
}

// nameAsker is a machine or a static peer that may have names.
type nameAsker struct {
	names.Member // with all addresses that it calls its own
	key          string
}

func newNameRoster(self string) *nameRoster {
	return &nameRoster{self: self, asking: map[string]nameAsker{}, allowed: map[string][]netip.Prefix{}, nodes: map[string][]string{},
		members: map[string]names.Member{}, changed: true}
}

// take takes a change of resource.Affiliates or resource.PeerSpecs.
func (r *nameRoster) take(c resource.Change) {
	switch spec := c.Resource.Spec.(type) {
	case resource.Affiliate:
		r.takeAffiliate(c.Resource.ID, &spec, c.Deleted)
	case resource.PeerSpec:
		if r.allowed[c.Resource.ID] = spec.AllowedIPs; c.Deleted {
			delete(r.allowed, c.Resource.ID)
		}
		for _, node := range r.nodes[c.Resource.ID] {
			r.renew(node)
		}
	}
}

func (r *nameRoster) takeAffiliate(id string, a *resource.Affiliate, deleted bool) {
	if before, known := r.asking[id]; known {
		delete(r.asking, id)
		r.nodes[before.key] = slices.DeleteFunc(r.nodes[before.key], func(node string) bool { return node == id })
		if len(r.nodes[before.key]) == 0 {
			delete(r.nodes, before.key)
		}
	}
	if !deleted && a.Refused == "" && !a.KubeSpan.IsZero() {
		key := a.KubeSpan.PublicKey.String()
		r.asking[id] = nameAsker{key: key, Member: names.Member{NodeID: id, Hostname: a.Hostname, Nodename: a.Nodename, Addresses: names.Candidates(a.Affiliate)}}
		r.nodes[key] = append(r.nodes[key], id)
	}
	r.renew(id)
}

// renew makes the member with a node ID anew.
func (r *nameRoster) renew(id string) {
	before, known := r.members[id]
	asker, asks := r.asking[id]
	if !asks {
		delete(r.members, id)
		r.changed = r.changed || known
		return
	}
	m := asker.Member
	if id != r.self {
		m.Addresses = names.Owned(m.Addresses, r.allowed[asker.key])
	}
	r.members[id] = m
	r.changed = r.changed || !known || !before.Equal(m)
}

// table returns the names in a domain.
func (r *nameRoster) table(domain string) *names.Table {
	r.changed = false
	return names.Make(domain, slices.Collect(maps.Values(r.members)))
}

// resources returns what is shown of a table.
func (r *nameRoster) resources(t *names.Table) map[string]any {
	specs := make(map[string]any, len(t.Hosts))
	for _, h := range t.Hosts {
		n := resource.MeshName{Label: h.Labels[0], Addresses: h.Addresses, NodeID: h.NodeID, PublicKey: r.asking[h.NodeID].key}
		for _, alias := range h.Labels[1:] {
			n.Aliases = append(n.Aliases, t.Name(alias))
		}
		specs[t.Name(h.Labels[0])] = n
	}
	return specs
}

// loopbackOf returns the address on loopback at which the names of the mesh at a UDP port are answered: each
// mesh of a machine has its own, which is none of those that resolvers of systems use.
func loopbackOf(port int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(port >> 8), byte(port), 53})
}
