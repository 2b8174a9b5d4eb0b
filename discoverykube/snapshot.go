package discoverykube

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Remembered is what a client knew, for the next client of the machine.
type Remembered struct {
	Affiliates []mesh.Affiliate `json:"affiliates"`
	Node       mesh.Node        `json:"node"`
}

// Affiliates returns the other machines that are known, by node ID. Of two Nodes with one
// node ID, the first by name is used.
func (c *Client) Affiliates() []mesh.Affiliate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.remembered.Affiliates) > 0 {
		return slices.Clone(c.remembered.Affiliates)
	}
	owners := c.owners()
	affiliates := make([]mesh.Affiliate, 0, len(owners))
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		affiliates = append(affiliates, c.nodes[owners[id]].affiliate)
	}
	return affiliates
}

// owners returns the names of the Nodes that are used, by node ID. The caller holds c.mu.
func (c *Client) owners() map[string]string {
	owners := make(map[string]string, len(c.nodes))
	for name, e := range c.nodes {
		if other, taken := owners[e.affiliate.NodeID]; e.refused == nil && (!taken || name < other) {
			owners[e.affiliate.NodeID] = name
		}
	}
	return owners
}

// Refused returns why affiliates of Nodes are not used, by node ID. If another Node with
// the same node ID is used, the key has the name of the Node, too.
func (c *Client) Refused() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// Complete reports whether Affiliates has all machines of the cluster, as far as the API
// server lets this machine know.
func (c *Client) Complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered || c.options.OwnNode
}

// Node returns what the cluster says of this machine. Before the Nodes are listed, that is
// its name and what was remembered.
func (c *Client) Node() mesh.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.remembered.Node
	n.Name = c.options.NodeName
	if c.own != nil {
		n.PodNetworks, n.ControlPlane = slices.Clone(c.own.podCIDRs), c.own.isControlPlane()
	}
	return n
}

// Remember returns what the next client of this machine should begin with.
func (c *Client) Remember() Remembered { return Remembered{Affiliates: c.Affiliates(), Node: c.Node()} }
