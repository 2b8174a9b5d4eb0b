package reconciler

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// stepPeers moves the connection to every peer on, from what WireGuard shows.
func (e *Engine) stepPeers(p *Pass, now time.Time, config *schema.Config, live state.State, networkChanged bool) {
	observed := make([]peer.Observed, len(live.Peers))
	for i := range live.Peers {
		seen := &live.Peers[i]
		observed[i] = peer.Observed{Key: seen.PublicKey, Present: true, Endpoint: seen.Endpoint, LastHandshake: seen.LastHandshake,
			ReceiveBytes: seen.ReceiveBytes, TransmitBytes: seen.TransmitBytes}
	}
	p.peers = e.tracker.Next(now, peer.Input{
		Self:           p.identity.PublicKey,
		Links:          p.host.Links,
		Specs:          p.specs,
		Observed:       observed,
		NetworkChanged: networkChanged,
		AlwaysInitiate: e.AlwaysInitiate,
		Contested:      e.owners.table.Contested(),
		ProbeNow:       e.owners.probe,
	})
	for i := range p.peers {
		if address := probeAddress(&p.specs[i]); p.peers[i].Action.Probe && address.IsValid() {
			p.probes = append(p.probes, address)
		}
	}
	p.NextCheck = p.peers.NextCheck(now)
	if config.KubeSpan().Relay.Use {
		p.Local.KubeSpan.Relays = p.peers.AssignRelays(p.identity.PublicKey, p.specs)
	}
}

// probeAddress returns an address of the peer inside the tunnel; invalid for none.
func probeAddress(spec *mesh.PeerSpec) netip.Addr {
	if spec.Address.IsValid() {
		return spec.Address
	}
	if len(spec.AllowedIPs) > 0 {
		return spec.AllowedIPs[0].Addr()
	}
	return netip.Addr{}
}
