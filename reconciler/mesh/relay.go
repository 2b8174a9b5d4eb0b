package mesh

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// MaxRelays is the largest number of reached relays that a machine publishes: an affiliate
// has to fit into the 2048 bytes that discovery services accept.
const MaxRelays = 8

// MaxRegistered is the largest number of blind relays that a machine is registered with. With announce.go's
// relaySize their keys fit beside the rest.
const MaxRegistered = 3

// MaxListedRelays is how many endpoints of relays a machine lists among its own.
const MaxListedRelays = 2

// MaxRelayEndpoints is how many endpoints a machine names as relays', with those that were withdrawn.
const MaxRelayEndpoints = 4

// PickRelay returns the relay for the traffic between a machine and a peer: one that both
// reach. The machine's relays are in reached, the peer's in its spec. Both ends pick the same
// relay, and different pairs pick different ones.
func PickRelay(self Key, peer PeerSpec, reached []Key) (relay Key, found bool) {
	first, second := self, peer.PublicKey
	if second.Compare(first) < 0 {
		first, second = second, first
	}
	var best [sha256.Size]byte
	for _, candidate := range reached {
		if candidate == peer.PublicKey || !slices.Contains(peer.Relays, candidate) {
			continue
		}
		// Each pair orders the relays differently (rendezvous hashing).
		rank := sha256.Sum256(slices.Concat(first[:], second[:], candidate[:]))
		if !found || bytes.Compare(rank[:], best[:]) > 0 {
			relay, best, found = candidate, rank, true
		}
	}
	return relay, found
}
