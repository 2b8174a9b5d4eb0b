package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// ClaimRank is what a claimed prefix is to its claimant. Of equal prefixes, the lower rank takes
// precedence.
type ClaimRank uint8

// The ranks.
const (
	// RankMeshAddress is for the address in the mesh that is derived from cluster and machine.
	RankMeshAddress ClaimRank = iota
	// RankOwnAddress is for the addresses of the claimant's links.
	RankOwnAddress
	// RankNetwork is for networks behind the claimant.
	RankNetwork
)

func (r ClaimRank) String() string { return [...]string{"mesh address", "own address", "network"}[r] }

// Claim is a prefix that a peer asks for.
type Claim struct {
	Prefix netip.Prefix
	Rank   ClaimRank
	// Static is set when this machine's config gives the prefix to the peer.
	Static bool
	// Length is the length of the network that Prefix is a piece of: that of Prefix, if no part
	// of the network stays local.
	Length uint8
	// Shared is set for a static peer that other machines may have as well: unless it is up here, a
	// machine that announces the prefix takes precedence.
	Shared bool
}

// Refusal is a prefix that a peer asks for and does not get, or not all of it.
type Refusal struct {
	// Prefix is the prefix as the peer has published it.
	Prefix netip.Prefix
	Cause  RefusalCause
	// Reason says why. It completes the sentence "the prefix …".
	Reason string
	// Link and Local are the link and the network of this machine that Prefix collides with, for
	// OnLink and CoversLAN.
	Link  string
	Local netip.Prefix
}

// RefusalCause is the kind of a Refusal.
type RefusalCause uint8

// The causes.
const (
	// Invalid is for prefixes that no machine may claim, such as multicast.
	Invalid RefusalCause = iota
	// OwnHere is for an address that this machine has itself.
	OwnHere
	// Filtered is for networks that the config's filters do not let in.
	Filtered
	// DefaultRoute is for default routes that no filter lets in.
	DefaultRoute
	// OnLink is for an own address in a network that this machine is attached to and the peer is
	// not.
	OnLink
	// CoversLAN is for a network that has a network of this machine in it, or is part of one.
	// Only that part is refused.
	CoversLAN
)

// ComparePrefixes orders prefixes by address, then by length, the widest first.
func ComparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

const (
	// maxPieces is how many prefixes the networks of one peer may come to, without what stays
	// local and what the peer excludes: 500 networks with 500 exclusions could come to millions.
	// What this machine's config gives to the peer has no limit.
	maxPieces = 8192
	// maxExcluded is how many networks a peer may exclude from those that it advertises.
	maxExcluded = 1024
)

// Claims returns what a peer gets, if no other peer claims the same: sorted, each prefix once.
// It also returns what is refused. Endpoints are the peer's candidates, and working is
// the endpoint at which it was last up, if it ever was.
func (t *Territory) Claims(a *Affiliate, endpoints []netip.AddrPort, working netip.AddrPort) ([]Claim, []Refusal) {
	b := claimBuilder{local: t, affiliate: a, endpoints: endpoints, working: working,
		claims: make([]Claim, 0, 1+len(a.Addresses)+len(a.KubeSpan.AdditionalAddresses))}
	for _, prefix := range a.KubeSpan.ExcludeAdvertisedNetworks {
		if prefix, reason := checkPrefix(prefix); reason == "" {
			b.excluded = append(b.excluded, prefix)
		}
	}
	for _, address := range a.Addresses {
		b.ownAddress(address)
	}
	for _, prefix := range a.KubeSpan.AdditionalAddresses {
		b.network(prefix)
	}
	if address := a.KubeSpan.Address; address.IsValid() {
		b.add(netip.PrefixFrom(address, address.BitLen()), RankMeshAddress, address.BitLen())
	}
	return b.sorted(), b.refusals
}

// claimBuilder collects the claims of one peer.
type claimBuilder struct {
	local     *Territory
	affiliate *Affiliate
	endpoints []netip.AddrPort
	working   netip.AddrPort
	excluded  []netip.Prefix
	// pieces is how many prefixes the networks so far have come to.
	pieces int

	claims   []Claim
	refusals []Refusal
}

func (b *claimBuilder) add(prefix netip.Prefix, rank ClaimRank, length int) {
	b.claims = append(b.claims, Claim{Prefix: prefix, Rank: rank, Length: uint8(length)})
}

func (b *claimBuilder) refuse(prefix netip.Prefix, cause RefusalCause, reason string) {
	b.refusals = append(b.refusals, Refusal{Prefix: prefix, Cause: cause, Reason: reason})
}

// configured reports whether this machine's config gives the prefix to the peer.
func (b *claimBuilder) configured(prefix netip.Prefix) bool {
	return b.affiliate.Static || slices.Contains(b.affiliate.Configured, prefix)
}

// ownAddress claims an address of the peer's links.
func (b *claimBuilder) ownAddress(address netip.Addr) {
	published := netip.PrefixFrom(address, address.BitLen())
	prefix, reason := checkPrefix(published)
	switch {
	case address.Zone() != "":
		b.refuse(published, Invalid, "has a zone, which is valid on one machine only")
		return
	case reason != "":
		b.refuse(published, Invalid, reason)
		return
	case slices.ContainsFunc(b.excluded, func(e netip.Prefix) bool { return e.Contains(prefix.Addr()) }):
		return
	case !b.local.protected.Contains(prefix.Addr()):
		b.add(prefix, RankOwnAddress, prefix.Bits())
		return
	}
	if refusal, refused := b.local.refuseAddress(prefix.Addr(), b.endpoints, b.working, b.configured(prefix)); refused {
		refusal.Prefix = prefix
		b.refusals = append(b.refusals, refusal)
		return
	}
	b.add(prefix, RankOwnAddress, prefix.Bits())
}

// network claims a network behind the peer.
func (b *claimBuilder) network(published netip.Prefix) {
	prefix, reason := checkPrefix(published)
	if reason != "" {
		b.refuse(published, Invalid, reason)
		return
	}
	if prefix.IsSingleIP() && slices.Contains(b.affiliate.Addresses, prefix.Addr()) {
		return // claimed as an own address
	}
	if b.configured(prefix) {
		for _, piece := range without(prefix, b.excluded) {
			b.routable(piece)
		}
		return
	}
	switch cause, reason := b.local.filter(prefix); {
	case reason != "":
		b.refuse(prefix, cause, reason)
	case len(b.excluded) > maxExcluded:
		b.refuse(prefix, Invalid, fmt.Sprintf("is from a machine that excludes more than %d networks", maxExcluded))
	case b.pieces > maxPieces || !b.addLimited(prefix):
		b.refuse(prefix, Invalid, fmt.Sprintf("is too much: the peer's networks come to more than %d prefixes", maxPieces))
	}
}

// addLimited claims what is routed of a network, or nothing if that is too much. In that case
// no network after it is claimed either, so that the time is limited as well.
func (b *claimBuilder) addLimited(network netip.Prefix) bool {
	claims, refusals := len(b.claims), len(b.refusals)
	for _, piece := range without(network, b.excluded) {
		if b.routable(piece); b.pieces > maxPieces {
			b.claims, b.refusals = b.claims[:claims], b.refusals[:refusals]
			return false
		}
	}
	return true
}

// routable claims what does not stay local of a network.
func (b *claimBuilder) routable(network netip.Prefix) {
	stays := b.local.within(network)
	if stays == nil && !b.local.protected.OverlapsPrefix(network) {
		b.pieces++
		b.add(network, RankNetwork, network.Bits())
		return
	}
	var rest netipx.IPSetBuilder
	rest.AddPrefix(network)
	rest.RemoveSet(b.local.protected)
	for _, own := range stays {
		rest.RemovePrefix(own)
	}
	set, err := rest.IPSet()
	if err != nil {
		return // not reached: the network is valid
	}
	for _, piece := range set.Prefixes() {
		b.pieces++
		b.add(piece, RankNetwork, network.Bits())
	}
	b.refusals = append(b.refusals, b.local.covered(network)...)
}

// sorted returns the claims in order. Of several on one prefix, it keeps the strongest.
func (b *claimBuilder) sorted() []Claim {
	for i := range b.claims {
		c := &b.claims[i]
		c.Static = b.affiliate.Static || len(b.affiliate.Configured) > 0 && b.covers(c.Prefix)
		c.Shared = b.affiliate.Shared
	}
	slices.SortFunc(b.claims, func(x, y Claim) int {
		return cmp.Or(ComparePrefixes(x.Prefix, y.Prefix), cmp.Compare(y.Length, x.Length), cmp.Compare(x.Rank, y.Rank))
	})
	return slices.CompactFunc(b.claims, func(x, y Claim) bool { return x.Prefix == y.Prefix })
}

// covers reports whether a prefix is in a network that the config gives to the peer.
func (b *claimBuilder) covers(prefix netip.Prefix) bool {
	return slices.ContainsFunc(b.affiliate.Configured, func(c netip.Prefix) bool {
		return c.Bits() <= prefix.Bits() && c.Contains(prefix.Addr())
	})
}

// without returns a prefix without others, as prefixes.
func without(prefix netip.Prefix, remove []netip.Prefix) []netip.Prefix {
	if !slices.ContainsFunc(remove, prefix.Overlaps) {
		return []netip.Prefix{prefix}
	}
	var rest netipx.IPSetBuilder
	rest.AddPrefix(prefix)
	for _, r := range remove {
		rest.RemovePrefix(r)
	}
	set, err := rest.IPSet()
	if err != nil {
		return nil // not reached: the prefixes are valid
	}
	return set.Prefixes()
}
