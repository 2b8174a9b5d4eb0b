package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/reconciler/resource"
)

// maxNamed is how many peers an error names.
const maxNamed = 8

// pingPeer is a peer as those who ask for it know it.
type pingPeer struct {
	resource.PeerWords
	name string
	// address is where echoes go to, inside of the mesh; invalid for none.
	address netip.Addr
}

// pingPeers returns the peers that the store knows.
func pingPeers(store *resource.Store) []pingPeer {
	statuses := map[string]resource.PeerStatus{}
	for _, r := range store.List(resource.PeerStatuses) {
		if status, is := r.Spec.(resource.PeerStatus); is {
			statuses[r.ID] = status
		}
	}
	var peers []pingPeer
	for _, r := range store.List(resource.PeerSpecs) {
		spec, is := r.Spec.(resource.PeerSpec)
		if !is {
			continue
		}
		status := statuses[r.ID]
		p := pingPeer{name: cmp.Or(status.Name, r.ID), address: cmp.Or(status.Address, spec.Address),
			PeerWords: resource.PeerWords{Key: r.ID, NodeID: status.NodeID, Label: spec.Label, Name: status.Name, Addresses: []netip.Addr{status.Address, spec.Address}}}
		for _, prefix := range spec.AllowedIPs {
			if prefix.IsSingleIP() {
				p.Addresses = append(p.Addresses, prefix.Addr())
			}
		}
		peers = append(peers, p)
	}
	return peers
}

// findPeer returns the peer that a user names.
func findPeer(word string, peers []pingPeer) (pingPeer, error) {
	named := resource.FindPeers(word, peers, func(p pingPeer) resource.PeerWords { return p.PeerWords })
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return pingPeer{}, &codedError{connect.CodeNotFound, fmt.Errorf("no peer is called %q; %s", word, listPeers(peers))}
	default:
		return pingPeer{}, &codedError{connect.CodeInvalidArgument, fmt.Errorf("%d peers are called %q: name one by its key; %s", len(named), word, listPeers(named))}
	}
}

func listPeers(peers []pingPeer) string {
	if len(peers) == 0 {
		return "there are no peers"
	}
	names := make([]string, len(peers))
	for i, p := range peers {
		names[i] = p.name
	}
	slices.Sort(names)
	if more := len(names) - maxNamed; more > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return "there are: " + strings.Join(names, ", ")
}
