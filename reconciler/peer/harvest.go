package peer

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// harvesters is how many machines publish a peer's unlisted endpoint, on average.
	harvesters = 8
	// harvestDouble is the time after which twice as many do, if it is still unlisted.
	harvestDouble = 30 * time.Second
)

// Harvest returns, by node ID, the endpoints at which peers are up and that they do not list
// themselves. In a large mesh each machine harvests some of the peers only: otherwise n
// machines would publish n endpoints for each of n peers. Specs are the specs of the
// connections, in their order.
func (cs Connections) Harvest(now time.Time, self mesh.Key, specs []mesh.PeerSpec) map[string][]netip.AddrPort {
	found := map[string][]netip.AddrPort{}
	for i := range cs {
		c := &cs[i]
		endpoint, unlisted := c.Status.Endpoint, c.Status.EndpointSince.age(now)
		listed := slices.Contains(specs[i].Endpoints, endpoint) || slices.Contains(specs[i].RelayEndpoints, endpoint)
		if c.IsUp() && c.BlindRelay.IsZero() && endpoint.IsValid() && !listed && isHarvester(self, c.Key, len(cs), unlisted) {
			found[c.NodeID] = []netip.AddrPort{endpoint}
		}
	}
	return found
}

// isHarvester reports whether a machine publishes a peer's endpoint that was unlisted for
// some time. The choice is pseudorandom, and the same each time.
func isHarvester(self, peer mesh.Key, machines int, unlisted time.Duration) bool {
	sum := sha256.Sum256(slices.Concat(self[:], peer[:]))
	share := float64(harvesters) * math.Exp2(float64(unlisted/harvestDouble)) / float64(machines)
	return float64(binary.BigEndian.Uint64(sum[:])) < share*math.MaxUint64
}
