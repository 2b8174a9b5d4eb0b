package peer

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// forwardAfter is how long after a peer was first seen a member that decrypts may forward its traffic,
// where both ends know blind relays: they need as long to register with them, also over TCP.
const forwardAfter = 20 * time.Second

// Forwarding is what decides which peers are reached through a member that decrypts.
type Forwarding struct {
	Now  time.Time
	Self mesh.Key
	// Relays and Registered are those of Input.
	Relays     []mesh.BlindRelay
	Registered []BlindRelay
}

// allows reports whether a member that decrypts may forward what goes to a peer. It may not where both
// ends share a blind relay. Machines of earlier versions know none.
func (f *Forwarding) allows(c *Connection, spec *mesh.PeerSpec) bool {
	if slices.ContainsFunc(f.Registered, func(r BlindRelay) bool { return slices.Contains(spec.Registered, r.Key) }) {
		return false
	}
	knowsBlind := spec.Probes || len(spec.Registered) > 0
	return !knowsBlind || len(f.Relays) == 0 || c.Status.FirstSeen.age(f.Now) >= forwardAfter
}

// AssignRelays gives a relay that decrypts to each peer that no endpoint leads to and that may have one,
// and returns the relays that this machine reaches. Specs are the specs of the connections, in their
// order.
func (cs Connections) AssignRelays(f Forwarding, specs []mesh.PeerSpec) (reached []mesh.Key) {
	for i := range specs {
		if specs[i].Relay && cs[i].IsUp() {
			reached = append(reached, specs[i].PublicKey)
		}
	}
	reached = slices.Clip(reached[:min(len(reached), mesh.MaxRelays)])
	for i := range cs {
		c := &cs[i]
		if c.IsUp() || !c.Status.Unreachable() || !f.allows(c, &specs[i]) {
			continue
		}
		c.Relay, _ = mesh.PickRelay(f.Self, specs[i], reached)
	}
	return reached
}
