package reconciler

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// advertisePeers publishes the networks of the static peers that are up, where the config says so. Of
// several machines that have a peer, the one that it is connected to publishes it: the others reach it
// there.
func (p *Pass) advertisePeers(config *schema.Config) {
	k := &p.Local.KubeSpan
	var networks []netip.Prefix
	for _, peer := range config.Cluster.Discovery.Registries.Static.Peers {
		if !peer.Advertise {
			continue
		}
		i, found := p.specAt(mesh.Key(peer.PublicKey))
		if !found || !p.claimants[i].Static || !p.peers[i].IsUp() {
			continue
		}
		for _, network := range peer.AllowedIPs {
			if !slices.Contains(k.AdditionalAddresses, network) {
				networks = append(networks, network)
			}
		}
	}
	if len(networks) == 0 {
		return
	}
	room := min(mesh.RoomForNetworks(&p.Local, config.KubeSpan().Relay.Offer), len(networks))
	if room < len(networks) {
		p.Report(condition.Condition{Code: condition.TooManyEndpoints, Subject: "static peers",
			Cause:  fmt.Sprintf("%d of %d networks of static peers that are up are announced, since discovery takes no more", room, len(networks)),
			Remedy: "divide the peers among several machines, or give them addresses of one network, and have it in machine.network.kubespan.advertisedNetworks in place of advertise"})
	}
	k.AdditionalAddresses = slices.Concat(k.AdditionalAddresses, networks[:room])
}

// forwardedPeer returns the name of a static peer that others are to reach through this machine, and whether
// any of them has a network of IPv4. The name is empty if there is none.
func forwardedPeer(config *schema.Config) (name string, hasIPv4 bool) {
	for _, peer := range config.Cluster.Discovery.Registries.Static.Peers {
		if !peer.Advertise {
			continue
		}
		if name == "" {
			name = peer.Name
		}
		hasIPv4 = hasIPv4 || slices.ContainsFunc(peer.AllowedIPs, func(n netip.Prefix) bool { return n.Addr().Is4() })
	}
	return name, hasIPv4
}
