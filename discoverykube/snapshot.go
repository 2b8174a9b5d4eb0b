package discoverykube

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// cacheContent is what one process knew, for the next one.
type cacheContent struct {
	Affiliates []*mesh.Affiliate `json:"affiliates"`
	Node       mesh.Node         `json:"node"`
}

// Snapshot implements reconciler.Registry.
func (c *client) Snapshot() reconciler.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return reconciler.Snapshot{Affiliates: c.affiliates(), Node: c.node(), Refused: c.refused(),
		Conditions: c.conditions(), Complete: c.answered || c.readOnly}
}

// Cache implements reconciler.Registry.
func (c *client) Cache() ([]byte, error) {
	s := c.Snapshot()
	return json.Marshal(cacheContent{Affiliates: s.Affiliates, Node: s.Node})
}

// affiliates returns the other machines that are known, by node ID. Of two Nodes with one
// node ID, the first by name is used. The caller holds c.mu.
func (c *client) affiliates() []*mesh.Affiliate {
	if len(c.remembered.Affiliates) > 0 {
		return slices.Clone(c.remembered.Affiliates)
	}
	owners := c.owners()
	affiliates := make([]*mesh.Affiliate, 0, len(owners))
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		affiliates = append(affiliates, c.nodes[owners[id]].affiliate)
	}
	return affiliates
}

// owners returns the names of the Nodes that are used, by node ID. The caller holds c.mu.
func (c *client) owners() map[string]string {
	owners := make(map[string]string, len(c.nodes))
	for name, e := range c.nodes {
		if other, taken := owners[e.affiliate.NodeID]; e.refused == nil && (!taken || name < other) {
			owners[e.affiliate.NodeID] = name
		}
	}
	return owners
}

// refused returns why affiliates of Nodes are not used, by node ID. If another Node with
// the same node ID is used, the key has the name of the Node, too. The caller holds c.mu.
func (c *client) refused() map[string]string {
	refused, owners := map[string]string{}, c.owners()
	for name, e := range c.nodes {
		id := e.affiliate.NodeID
		owner, owned := owners[id]
		if owner == name {
			continue
		}
		reason := fmt.Sprintf("Node %s has the same node ID: was a machine cloned with its state directory?", owner)
		if e.refused != nil {
			reason = fmt.Sprintf("Node %s: %v", name, e.refused)
		}
		if owned {
			id += " (Node " + name + ")"
		}
		refused[id] = reason
	}
	return refused
}

// node returns what the cluster says of this machine. Before the Nodes are listed, that is
// its name and what was remembered. The caller holds c.mu.
func (c *client) node() mesh.Node {
	n := c.remembered.Node
	n.Name, n.APIServerPort = c.nodeName, c.apiServerPort
	if c.own != nil {
		n.PodNetworks, n.ControlPlane = slices.Clone(c.own.podCIDRs), c.own.isControlPlane()
	}
	return n
}
