package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
)

const (
	// MaxEndpoints is how many endpoints of a machine a discovery service keeps.
	MaxEndpoints = 64
	// maxAddresses is how many addresses a machine announces as its own.
	maxAddresses = 64
)

// What a discovery service takes of a machine, in bytes. The sizes are those of the longest
// encoding.
const (
	maxData = 2048
	// baseSize is for encryption, names, key and operating system.
	baseSize    = 512
	addressSize = 20
	// relaySize is for MaxRegistered keys and MaxRelayEndpoints endpoints.
	relaySize  = 240
	prefixSize = 24
	// offerSize is for the key and the endpoints of the relay that the machine is.
	offerSize = 192
)

// roomForAddresses returns how many addresses fit beside the networks of an affiliate, and its relay if it
// offers one.
func roomForAddresses(k *KubeSpan, offers bool) int {
	room := maxData - baseSize - relaySize - prefixSize*(len(k.AdditionalAddresses)+len(k.ExcludeAdvertisedNetworks))
	if offers {
		room -= offerSize
	}
	return min(max(room/addressSize, 1), maxAddresses)
}

// RoomForNetworks returns how many networks more an affiliate has room for. Offers is set if the machine
// offers a relay.
func RoomForNetworks(a *Affiliate, offers bool) int {
	room := maxData - baseSize - relaySize - addressSize*len(a.Addresses) -
		prefixSize*(len(a.KubeSpan.AdditionalAddresses)+len(a.KubeSpan.ExcludeAdvertisedNetworks))
	if offers {
		room -= offerSize
	}
	return max(room/prefixSize, 0)
}

// best returns the n addresses of the smallest classes, in their order. Of each class, both
// families have their share.
func best(addresses []netip.Addr, n int, classOf func(netip.Addr) int) []netip.Addr {
	if len(addresses) <= n {
		return addresses
	}
	type candidate struct {
		index, class, nth int
	}
	type group struct {
		class int
		is4   bool
	}
	candidates := make([]candidate, len(addresses))
	sizes := map[group]int{}
	for i, a := range addresses {
		class := classOf(a)
		g := group{class, a.Is4()}
		candidates[i] = candidate{i, class, sizes[g]}
		sizes[g]++
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.nth, b.nth))
	})
	candidates = candidates[:max(n, 0)]
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.index, b.index) })
	chosen := make([]netip.Addr, len(candidates))
	for i, c := range candidates {
		chosen[i] = addresses[c.index]
	}
	return chosen
}

// The classes of this machine's addresses, in the order in which they are announced if there is
// no room for all.
const (
	classSeen = iota
	classOnDefault
	classAnnouncedPublic
	classPrivate
	classRest
)

// classes returns the class of each address. Seen are the machine's addresses as others see them.
func classes(host Host, seen []netip.Addr) func(netip.Addr) int {
	known := map[netip.Addr]int{}
	for _, a := range host.Addresses[:min(host.OnDefault, len(host.Addresses))] {
		known[a] = classOnDefault
	}
	for _, a := range seen {
		known[a] = classSeen
	}
	return func(a netip.Addr) int {
		class, isKnown := known[a]
		switch {
		case isKnown:
			return class
		case IsPublic(a):
			return classAnnouncedPublic
		case a.IsPrivate():
			return classPrivate
		default:
			return classRest
		}
	}
}

// IsPublic reports whether an address is one of the internet.
func IsPublic(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a) }

// tooMany returns a condition if fewer are announced than there are.
func tooMany(what string, announced, all int, remedy string) []condition.Condition {
	if announced >= all {
		return nil
	}
	return []condition.Condition{{
		Code:    condition.TooManyEndpoints,
		Subject: what,
		Cause:   fmt.Sprintf("%d of %d %s of this machine are announced, since discovery takes no more", announced, all, what),
		Remedy:  remedy,
	}}
}
