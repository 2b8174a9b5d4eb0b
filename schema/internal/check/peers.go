package check

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spanmesh/span/schema"
)

// Peers returns the faults of static peers: fields that are missing, and names, keys and networks
// that two peers have. AllowedIPs must be masked.
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
	return append(faults, overlaps(list)...)
}

// owned is a network of a peer.
type owned struct {
	netip.Prefix
	// peer and index are the places in the list of peers and among the peer's networks.
	peer, index int
}

// overlaps returns the networks of a static peer that are inside of another peer's. WireGuard
// would route such a network by the longer prefix, but spanctl gives each address to one peer.
func overlaps(list []schema.StaticPeer) (faults []Fault) {
	var all []owned
	for i, peer := range list {
		for j, network := range peer.AllowedIPs {
			all = append(all, owned{network, i, j})
		}
	}
	slices.SortFunc(all, func(a, b owned) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var open []owned // the networks around the current one, the widest first
	for _, o := range all {
		for len(open) > 0 && !open[len(open)-1].Overlaps(o.Prefix) {
			open = open[:len(open)-1]
		}
		for _, outer := range open {
			if outer.peer == o.peer || outer.Prefix == o.Prefix {
				continue
			}
			faults = append(faults, Fault{Path: fmt.Sprintf("%s[%d].allowedIPs[%d]", peers, o.peer, o.index), Value: strconv.Quote(o.String()),
				Reason: fmt.Sprintf("is inside of %s, which belongs to peers[%d]", outer.Prefix, outer.peer), Want: "networks that do not overlap"})
		}
		open = append(open, o)
	}
	return faults
}
