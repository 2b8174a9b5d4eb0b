package mesh

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// MaxRelays is how many relays a machine publishes as those that it reaches: a
// bound, since an affiliate has to fit into discovery.
const MaxRelays = 8

// PickRelay picks who carries the traffic between a machine and a peer: one of
// offers, the relays that the machine itself reaches, that the peer says it
// reaches too. Both ends pick the same, and different pairs different ones.
func PickRelay(self Key, peer PeerSpec, offers []Key) (relay Key, found bool) {
	first, second := self, peer.PublicKey
	if second.Compare(first) < 0 {
		first, second = second, first
	}
	var best [sha256.Size]byte
	for _, offer := range offers {
		if offer == peer.PublicKey || !slices.Contains(peer.Relays, offer) {
			continue
		}
		// Of all relays, each pair has its own order (rendezvous hashing).
		rank := sha256.Sum256(slices.Concat(first[:], second[:], offer[:]))
		if !found || bytes.Compare(rank[:], best[:]) > 0 {
			relay, best, found = offer, rank, true
		}
	}
	return relay, found
}
