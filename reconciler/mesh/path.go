package mesh

import (
	"net/netip"
	"slices"
)

// Path is a way by which packets go to a peer directly, as probes beside WireGuard's own packets have
// shown.
type Path struct {
	// Peer is the peer's key.
	Peer Key
	// Endpoint is where the peer has answered.
	Endpoint netip.AddrPort
	// Punched is set where both ends had to send first, so that their NATs let answers in.
	Punched bool
}

// BlindRelay is a relay that forwards WireGuard's packets and can read none of them.
type BlindRelay struct {
	// Key is its public key: it is a peer of WireGuard without networks, so that a handshake shows both
	// ends' keys and keeps NATs' mappings.
	Key Key
	// Endpoints are those of its UDP port, the best first.
	Endpoints []netip.AddrPort
	// Local is the endpoint on loopback by which WireGuard reaches it over TCP; invalid for none.
	Local netip.AddrPort `json:"-"`
	// URL is where it is reached over TCP; empty for nowhere.
	URL string
	// Name is for people.
	Name string
	// Member is set where a member of the cluster is the relay.
	Member bool
}

// maxRelayEndpoints is how many endpoints of a relay are kept.
const maxRelayEndpoints = 8

// JoinRelays returns the known relays with those that another service has told of: at most MaxRegistered.
// One that both name has the endpoints of both, since one of them may not tell the truth.
func JoinRelays(known, told []BlindRelay) []BlindRelay {
	for _, r := range told {
		i := slices.IndexFunc(known, func(k BlindRelay) bool { return k.Key == r.Key })
		switch {
		case i >= 0:
			all := unite(known[i].Endpoints, r.Endpoints)
			known[i].Endpoints = all[:min(len(all), maxRelayEndpoints)]
		case len(known) < MaxRegistered:
			known = append(known, r)
		}
	}
	return known
}

// Equal reports whether both are the same.
func (r BlindRelay) Equal(other BlindRelay) bool {
	return r.Key == other.Key && r.Name == other.Name && r.Member == other.Member && r.URL == other.URL && r.Local == other.Local && slices.Equal(r.Endpoints, other.Endpoints)
}

// Has reports whether an endpoint is the relay's.
func (r BlindRelay) Has(e netip.AddrPort) bool {
	return e.IsValid() && (e == r.Local || slices.Contains(r.Endpoints, e))
}
