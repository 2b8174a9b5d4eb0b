package mesh

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"net/netip"
	"slices"
)

// MaxOfferEndpoints is how many endpoints of the relay of a member are published and used.
const MaxOfferEndpoints = 4

// maxOffers bounds the relays of members that are looked at.
const maxOffers = 256

// RelayOffer is the blind relay that a member is. The zero value is that of a member that is none.
type RelayOffer struct {
	// Key is the relay's public key. It is not the member's.
	Key Key `json:"key"`
	// Endpoints are where its UDP port may be reached.
	Endpoints []netip.AddrPort `json:"endpoints,omitempty"`
}

// IsZero reports whether there is no relay.
func (o RelayOffer) IsZero() bool { return o.Key.IsZero() }

// Equal reports whether both are the same.
func (o RelayOffer) Equal(other RelayOffer) bool {
	return o.Key == other.Key && slices.Equal(o.Endpoints, other.Endpoints)
}

// or returns the other offer, if there is one.
func (o RelayOffer) or(other RelayOffer) RelayOffer {
	if other.IsZero() {
		return o
	}
	return other
}

// OfferRelay returns the offer of a relay with a port, on a machine that announces endpoints of
// WireGuard: the relay is at the same addresses, the public ones first. Without an address there is no
// offer.
func OfferRelay(key Key, port uint16, announced []netip.AddrPort) RelayOffer {
	var addresses []netip.Addr
	for _, e := range announced {
		addresses = append(addresses, e.Addr())
	}
	addresses = unite(nil, addresses)
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return cmp.Compare(privacy(a), privacy(b)) })
	if key.IsZero() || len(addresses) == 0 {
		return RelayOffer{}
	}
	o := RelayOffer{Key: key}
	for _, a := range addresses[:min(len(addresses), MaxOfferEndpoints)] {
		o.Endpoints = append(o.Endpoints, netip.AddrPortFrom(a, port))
	}
	return o
}

// privacy is 0 for addresses that all machines may reach.
func privacy(a netip.Addr) int {
	if IsPublic(a) {
		return 0
	}
	return 1
}

// OfferedRelays returns the relays that peers are, in an order that is the same on all machines of the
// cluster: the first few are those that all use, so that any two share one. Filter drops endpoints
// that this machine does not try. One key that several members offer is one relay, since not all may
// tell the truth; the key of a machine is none.
func OfferedRelays(self Key, links []Link, filter *EndpointFilter, specs []PeerSpec) []BlindRelay {
	var offered []BlindRelay
	for _, i := range byNode(specs) {
		s := &specs[i]
		probe := PeerSpec{PublicKey: s.Offer.Key, Addresses: s.Addresses, Endpoints: slices.Clone(s.Offer.Endpoints)}
		filter.Filter(&probe)
		if len(probe.Endpoints) == 0 || len(offered) >= maxOffers || probe.PublicKey == self || isMachine(specs, probe.PublicKey) {
			continue
		}
		r := BlindRelay{Key: s.Offer.Key, Name: s.Name, Member: true, Endpoints: Rank(links, netip.AddrPort{}, &probe)}
		if at := slices.IndexFunc(offered, func(k BlindRelay) bool { return k.Key == r.Key }); at >= 0 {
			all := unite(offered[at].Endpoints, r.Endpoints)
			offered[at].Endpoints = all[:min(len(all), maxRelayEndpoints)]
			continue
		}
		offered = append(offered, r)
	}
	slices.SortFunc(offered, func(a, b BlindRelay) int { return bytes.Compare(turn(a.Key), turn(b.Key)) })
	return offered
}

// isMachine reports whether a key is that of a peer. Specs are sorted by key.
func isMachine(specs []PeerSpec, k Key) bool {
	_, is := slices.BinarySearchFunc(specs, k, func(s PeerSpec, k Key) int { return s.PublicKey.Compare(k) })
	return is
}

// turn is what relays of members are sorted by: their keys alone would favour some machines where
// these are sorted by key, too.
func turn(k Key) []byte {
	sum := sha256.Sum256(append([]byte("relay of a member"), k[:]...))
	return sum[:]
}

// byNode returns the indices of the specs with an offer, by node ID.
func byNode(specs []PeerSpec) (order []int) {
	for i := range specs {
		if !specs[i].Offer.IsZero() {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(specs[a].NodeID, specs[b].NodeID) })
	return order
}
