package peer

import (
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// AssignRelays gives a relay to each peer that no endpoint leads to, and returns the relays
// that this machine reaches. Specs are the specs of the connections, in their order.
func (cs Connections) AssignRelays(self mesh.Key, specs []mesh.PeerSpec) (reached []mesh.Key) {
	for i := range specs {
		if specs[i].Relay && cs[i].IsUp() {
			reached = append(reached, specs[i].PublicKey)
		}
	}
	reached = slices.Clip(reached[:min(len(reached), mesh.MaxRelays)])
	for i := range cs {
		c := &cs[i]
		if c.IsUp() || !c.Status.Unreachable() {
			continue
		}
		c.Relay, _ = mesh.PickRelay(self, specs[i], reached)
	}
	return reached
}
