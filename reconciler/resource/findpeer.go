package resource

import (
	"net/netip"
	"slices"
	"strings"
)

// PeerWords are what people call a peer.
type PeerWords struct {
	// Key is the public key.
	Key string
	// NodeID is empty if it is not known.
	NodeID string
	// Label is what the peer calls itself, which others may do too.
	Label string
	// Name is what this machine calls the peer; empty if that is not known.
	Name string
	// Addresses are the peer's own in the mesh. An invalid one is none.
	Addresses []netip.Addr
}

// FindPeers returns the peer whose public key, node ID or address in the mesh a word is, or else all
// whose host name it is. Host names are compared without regard to case.
func FindPeers[P any](word string, peers []P, words func(P) PeerWords) (found []P) {
	if word == "" {
		return nil
	}
	address, _ := netip.ParseAddr(word) // invalid for a name
	for _, p := range peers {
		switch w := words(p); {
		case w.Key == word, w.NodeID == word, address.IsValid() && slices.Contains(w.Addresses, address):
			return []P{p}
		case strings.EqualFold(w.Label, word), strings.EqualFold(w.Name, word):
			found = append(found, p)
		}
	}
	return found
}
