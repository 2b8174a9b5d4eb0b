package check

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/spanmesh/span/schema"
)

// Peers returns the faults of static peers: fields that are missing, and names, keys and networks
// that two peers have. AllowedIPs must be masked. A network inside of another peer's is no
// fault: the longer prefix counts.
func Peers(list []schema.StaticPeer) (faults []Fault) {
	add := func(peer int, below, value, reason, want string) {
		faults = append(faults, Fault{Path: fmt.Sprintf("%s[%d]%s", peers, peer, below), Value: value, Reason: reason, Want: want})
	}
	names, keys := map[string]int{}, map[schema.StaticKey]int{}
	networks := map[netip.Prefix]int{}
	for i, peer := range list {
		if peer.Name == "" {
			add(i, "", "", "has no name", "a name for people, unique among the static peers")
		} else if first, taken := names[peer.Name]; taken {
			add(i, ".name", strconv.Quote(peer.Name), fmt.Sprintf("is also the name of peers[%d]", first), "a unique name for each peer")
		}
		names[peer.Name] = i
		if peer.PublicKey == (schema.StaticKey{}) {
			add(i, "", "", "has no publicKey", "the public key that `wg pubkey` prints")
		} else if first, taken := keys[peer.PublicKey]; taken {
			add(i, ".publicKey", strconv.Quote(base64.StdEncoding.EncodeToString(peer.PublicKey[:])),
				fmt.Sprintf("is also the key of peers[%d]", first), "a unique key for each peer")
		}
		keys[peer.PublicKey] = i
		for j, network := range peer.AllowedIPs {
			if first, taken := networks[network]; taken && first != i {
				add(i, fmt.Sprintf(".allowedIPs[%d]", j), strconv.Quote(network.String()),
					fmt.Sprintf("also belongs to peers[%d]", first), "each network at one peer only")
			}
			networks[network] = i
		}
	}
	return faults
}
