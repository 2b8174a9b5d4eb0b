package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// maxNamed is how many peers an error names.
const maxNamed = 8

// pingPeer is a peer as those who ask for it know it.
type pingPeer struct {
	key    string
	nodeID string
	label  string
	// address is where echoes go to, inside of the mesh; invalid for none.
	address netip.Addr
	// prefixes are those that are routed to the peer.
	prefixes []netip.Prefix
}

// pingPeers returns the peers that the store knows.
func pingPeers(store *resource.Store) []pingPeer {
	nodeIDs := map[mesh.Key]string{}
	for _, r := range store.List(resource.Affiliates) {
		if a, is := r.Spec.(resource.Affiliate); is && !a.KubeSpan.PublicKey.IsZero() {
			nodeIDs[a.KubeSpan.PublicKey] = a.NodeID
		}
	}
	var peers []pingPeer
	for _, r := range store.List(resource.PeerSpecs) {
		spec, is := r.Spec.(resource.PeerSpec)
		key, err := mesh.ParseKey(r.ID)
		if !is || err != nil {
			continue
		}
		p := pingPeer{key: r.ID, nodeID: nodeIDs[key], label: spec.Label, address: spec.Address, prefixes: spec.AllowedIPs}
		if !p.address.IsValid() && len(spec.AllowedIPs) > 0 {
			p.address = spec.AllowedIPs[0].Addr()
		}
		peers = append(peers, p)
	}
	return peers
}

// findPeer returns the peer that a user names by its host name, node ID, public key or an address
// that it has in the mesh.
func findPeer(name string, peers []pingPeer) (pingPeer, error) {
	address, _ := netip.ParseAddr(name) // invalid for a name
	var named []pingPeer
	for _, p := range peers {
		switch {
		case p.key == name, p.nodeID != "" && p.nodeID == name, address.IsValid() && p.has(address):
			return p, nil
		case strings.EqualFold(p.label, name):
			named = append(named, p)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return pingPeer{}, &codedError{connect.CodeNotFound, fmt.Errorf("no peer is called %q; %s", name, listPeers(peers, func(p pingPeer) string { return p.label }))}
	default:
		return pingPeer{}, &codedError{connect.CodeInvalidArgument, fmt.Errorf("%d peers are called %q: name one by its key; %s", len(named), name,
			listPeers(named, func(p pingPeer) string { return p.key }))}
	}
}

// has reports whether an address is the peer's own.
func (p pingPeer) has(address netip.Addr) bool {
	return p.address == address || slices.Contains(p.prefixes, netip.PrefixFrom(address, address.BitLen()))
}

func listPeers(peers []pingPeer, name func(pingPeer) string) string {
	if len(peers) == 0 {
		return "there are no peers"
	}
	names := make([]string, len(peers))
	for i, p := range peers {
		names[i] = name(p)
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return "there are: " + strings.Join(names, ", ")
}
