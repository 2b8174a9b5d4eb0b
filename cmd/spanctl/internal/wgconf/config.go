package wgconf

import (
	"net/netip"
	"strings"
	"unicode"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Config is one end of a tunnel.
type Config struct {
	// Title says in a line what the config is.
	Title     string
	Interface Interface
	Peers     []Peer
}

// Interface is the link of that end.
type Interface struct {
	// Name is the name of the link. wg and wg-quick do not have it.
	Name string
	// PrivateKey is written as a comment if it is "(hidden)", and left out if there is none.
	PrivateKey schema.Secret
	// Addresses are the link's own.
	Addresses []netip.Prefix
	// ListenPort is a UDP port; 0 for any.
	ListenPort int
	// FirewallMark is that of WireGuard's own packets; 0 for none.
	FirewallMark int
	// MTU is in bytes; 0 for the program's choice.
	MTU int
}

// Peer is the other end, or one of several.
type Peer struct {
	// Name is for people.
	Name      string
	PublicKey mesh.Key
	// PresharedKey is written as PrivateKey is.
	PresharedKey schema.Secret
	// Endpoint is a host with a port; empty for none.
	Endpoint string
	// AllowedIPs are the networks that are reached through the peer.
	AllowedIPs []netip.Prefix
	// Keepalive is in seconds; 0 for none.
	Keepalive int
}

// isShown reports whether a secret is there and is not hidden.
func isShown(s schema.Secret) bool { return s.Reveal() != "" && s.Reveal() != schema.Hidden }

// joined returns networks with a separator between them.
func joined(networks []netip.Prefix, separator string) string {
	texts := make([]string, len(networks))
	for i, n := range networks {
		texts[i] = n.String()
	}
	return strings.Join(texts, separator)
}

// comment returns a text as the comment of a line: a name of another machine may have anything in it.
func comment(text string) string {
	return "# " + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
