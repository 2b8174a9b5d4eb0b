package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// stepPeers moves the connection to every peer on, from what WireGuard shows.
func (e *Engine) stepPeers(p *Pass, now time.Time, config *schema.Config, live state.State, networkChanged bool) {
	if p.overAll {
		e.tracker.StepAll()
	}
	p.peers = e.tracker.Next(now, peer.Input{
		Self:           p.identity.PublicKey,
		Links:          p.host.Links,
		Specs:          p.specs,
		Changed:        p.patched.specs,
		Before:         p.patched.before,
		Joined:         p.patched.joined,
		Left:           p.patched.left,
		Observed:       e.observe(live.Peers),
		NetworkChanged: networkChanged,
		AlwaysInitiate: e.AlwaysInitiate,
		KeepalivesOff:  config.KubeSpan().PersistentKeepalive == 0,
		Contested:      e.owners.table.Contested(),
		ProbeNow:       e.owners.probe,
		Filtered:       e.filtered,
		Relays:         p.relays,
		Registered:     p.registered,
		Paths:          e.direct.Paths,
		Probing:        e.direct.On,
	})
	p.stepped, p.allStepped = e.tracker.Stepped()
	for _, i := range p.stepped {
		do := p.peers[i].Action
		p.relaysMoved = p.relaysMoved || do.Renew
		if address := probeAddress(&p.specs[i]); (do.Probe || do.Measure) && address.IsValid() {
			p.probes = append(p.probes, peer.Probe{Peer: p.peers[i].Key, Address: address, EchoOnly: !do.Probe})
		}
	}
	p.publishPaths(e.direct)
	p.publishOffer(e.offer)
	p.direct = e.direct
	p.NextCheck = min(p.NextCheck, p.peers.NextCheck(now, p.stepped))
	if config.KubeSpan().Relay.UsesForwarding() {
		p.Local.KubeSpan.Relays = p.peers.AssignRelays(peer.Forwarding{Now: now, Self: p.identity.PublicKey, Relays: p.relays, Registered: p.registered}, p.specs)
	}
	p.advertisePeers(config)
}

// observe returns what WireGuard and the answers to echoes show of the peers. Both lists are
// sorted by key. The list is used again by the next pass.
func (e *Engine) observe(peers []state.Peer) []peer.Observed {
	observed, replies := slices.Grow(e.observed[:0], len(peers))[:len(peers)], e.replies
	e.observed = observed
	for i := range peers {
		seen := &peers[i]
		o := &observed[i]
		*o = peer.Observed{Key: seen.PublicKey, Present: true, Endpoint: seen.Endpoint, LastHandshake: seen.LastHandshake,
			ReceiveBytes: seen.ReceiveBytes, TransmitBytes: seen.TransmitBytes}
		for len(replies) > 0 && replies[0].Peer.Compare(o.Key) <= 0 {
			if replies[0].Peer == o.Key {
				o.Replied, o.RTT = true, replies[0].RTT
			}
			replies = replies[1:]
		}
	}
	return observed
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
