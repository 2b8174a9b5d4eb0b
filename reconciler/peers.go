package reconciler

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

func isUp(s peer.Status) bool { return s.State == peer.Up }

// step moves every peer's status on and returns the endpoints to set now.
func (e *Engine) step(p *Pass, now time.Time, config *schema.Config, live state.State, o Trigger) map[mesh.Key]netip.AddrPort {
	seen := make(map[mesh.Key]peer.Observed, len(live.Peers))
	for _, found := range live.Peers {
		seen[found.PublicKey] = peer.Observed{Present: true, Endpoint: found.Endpoint, LastHandshake: found.LastHandshake,
			ReceiveBytes: found.ReceiveBytes, TransmitBytes: found.TransmitBytes}
	}
	redirects := map[mesh.Key]netip.AddrPort{}
	for i := range p.specs {
		spec := &p.specs[i]
		k := spec.PublicKey
		before := e.statuses[k].Shift(o.ClockStep)
		wanted := peer.Spec{Endpoints: spec.Endpoints, Addresses: spec.Addresses,
			Listed: spec.Endpoints, Initiator: e.AlwaysInitiate || p.identity.PublicKey.Compare(k) < 0, NetworkChanged: o.NetworkChanged}
		// A peer that does well needs no order, and most do.
		if !isUp(before) || seen[k].Endpoint != before.Endpoint || !now.Before(before.Expires()) {
			wanted.Endpoints = mesh.Rank(p.host.Links, e.lastGood(spec), spec)
		}
		status, do := peer.Step(now, wanted, before, seen[k])
		p.statuses[k] = status
		if do.Endpoint.IsValid() {
			redirects[k] = do.Endpoint
		}
		if address := probeAddress(spec); do.Probe && address.IsValid() {
			p.probes = append(p.probes, address)
		}
	}
	p.NextCheck = peer.NextCheck(now, maps.Values(p.statuses), len(p.statuses))
	e.relay(p, config)
	return redirects
}

// worked is where a peer was reached last: also under the key that it had before.
func (e *Engine) lastGood(spec *mesh.PeerSpec) netip.AddrPort {
	if endpoint, known := e.LastGood[spec.PublicKey]; known {
		return endpoint
	}
	return e.byNode[spec.NodeID]
}

// probeAddress is an address of the peer inside of the tunnel.
func probeAddress(spec *mesh.PeerSpec) netip.Addr {
	if spec.Address.IsValid() {
		return spec.Address
	}
	if len(spec.AllowedIPs) > 0 {
		return spec.AllowedIPs[0].Addr()
	}
	return netip.Addr{}
}

// relay finds relays for the peers that no endpoint leads to, and tells the
// others which relays this machine reaches.
func (e *Engine) relay(p *Pass, config *schema.Config) {
	if !config.KubeSpan().Relay.Use {
		return
	}
	offers := p.offers()
	p.Local.KubeSpan.Relays = offers
	if len(offers) == 0 {
		return
	}
	p.via = map[mesh.Key]mesh.Key{}
	for i := range p.specs {
		spec := &p.specs[i]
		if s := p.statuses[spec.PublicKey]; isUp(s) || !s.Unreachable() || len(spec.Relays) == 0 {
			continue
		}
		if relay, found := mesh.PickRelay(p.identity.PublicKey, *spec, offers); found {
			p.via[spec.PublicKey] = relay
		}
	}
}

// harvesters is how many machines publish an endpoint that a peer does not list
// itself, on average; harvestDouble is how long it takes for twice as many to do
// so, should it still not be listed.
const (
	harvesters    = 8
	harvestDouble = 30 * time.Second
)

// harvest lists the endpoints at which peers are reached and which they do not
// list themselves. In a large mesh each machine does so for some of the peers, so
// that n machines do not publish n endpoints of each of n peers at once.
func (p *Pass) harvest(now time.Time) map[string][]netip.AddrPort {
	found := map[string][]netip.AddrPort{}
	for i := range p.specs {
		spec := &p.specs[i]
		s := p.statuses[spec.PublicKey]
		if isUp(s) && s.Endpoint.IsValid() && !slices.Contains(spec.Endpoints, s.Endpoint) &&
			isHarvester(p.identity.PublicKey, spec.PublicKey, len(p.specs), now.Sub(s.EndpointSince)) {
			found[spec.NodeID] = []netip.AddrPort{s.Endpoint}
		}
	}
	return found
}

// isHarvester tells whether a machine is one of those that publish an endpoint of
// a peer which was not listed for a while. The choice is as good as random, and
// the same each time.
func isHarvester(self, peer mesh.Key, machines int, unlisted time.Duration) bool {
	sum := sha256.Sum256(slices.Concat(self[:], peer[:]))
	share := float64(harvesters) * math.Exp2(float64(unlisted/harvestDouble)) / float64(machines)
	return float64(binary.BigEndian.Uint64(sum[:])) < share*math.MaxUint64
}
