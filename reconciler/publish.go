package reconciler

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
)

// publish shows the pass in the resource store. Resources of a mesh that is not
// there are gone.
func (e *Engine) publish(now time.Time, p *Pass) {
	e.showStatuses(now, p)
	// What was gathered changes rarely, and there is much of it.
	if e.gathered != nil && e.published == e.gathered && p.config != nil {
		return
	}
	e.published = nil
	if p.config != nil {
		e.published = e.gathered
	}
	identities := map[string]any{}
	if !p.local.KubeSpan.IsZero() {
		id := p.identity
		identities["local"] = resource.IdentitySpec{Address: id.Address, Subnet: id.Subnet, PrivateKey: id.PrivateKey, PublicKey: id.PublicKey}
	}
	affiliates, members := map[string]any{}, map[string]any{}
	for id, reason := range p.refused {
		affiliates[id] = resource.Affiliate{Affiliate: mesh.Affiliate{NodeID: id}, Refused: reason}
	}
	for _, a := range p.merged {
		affiliates[a.NodeID] = resource.Affiliate{Affiliate: a, Refused: p.refused[a.NodeID]}
	}
	for _, m := range mesh.Members(p.good) {
		members[m.Nodename] = resource.Member{NodeID: m.NodeID, Addresses: m.Addresses, Hostname: m.Hostname,
			MachineType: m.MachineType, OperatingSystem: m.OperatingSystem}
	}
	for t, resources := range map[*resource.Type]map[string]any{
		resource.Identities: identities,
		resource.PeerSpecs:  p.peerSpecs(),
		resource.Affiliates: affiliates,
		resource.Members:    members,
	} {
		e.store.Replace(now, t, resources)
	}
}

func (p *Pass) peerSpecs() map[string]any {
	lost := make(map[mesh.Key]mesh.Overlap, len(p.overlaps))
	for _, o := range p.overlaps {
		lost[o.Loser] = o
	}
	specs := make(map[string]any, len(p.specs))
	for i := range p.specs {
		spec := &p.specs[i]
		shown := resource.PeerSpec{Address: spec.Address, AllowedIPs: spec.AllowedIPs, Endpoints: spec.Endpoints, Label: spec.Label}
		if o, ok := lost[spec.PublicKey]; ok {
			shown.Overlap = fmt.Sprintf("addresses from %s belong to %s", o.From, o.Winner)
		}
		specs[spec.PublicKey.String()] = shown
	}
	return specs
}

// showStatuses shows how the peers are, which changes all the time.
func (e *Engine) showStatuses(now time.Time, p *Pass) {
	statuses, endpoints := make(map[string]any, len(p.specs)), make(map[string]any, len(p.specs))
	for i := range p.specs {
		spec := &p.specs[i]
		id := spec.PublicKey.String()
		s := p.statuses[spec.PublicKey]
		statuses[id] = peerStatus(spec.Label, s, p.relayName(spec.PublicKey))
		if isUp(s) && s.Endpoint.IsValid() {
			endpoints[id] = resource.Endpoint{AffiliateID: spec.NodeID, Endpoint: s.Endpoint}
		}
	}
	e.store.Replace(now, resource.PeerStatuses, statuses)
	e.store.Replace(now, resource.Endpoints, endpoints)
}

// relayName is the name of the peer that carries the traffic of another, or "".
func (p *Pass) relayName(key mesh.Key) string {
	if relay, relayed := p.via[key]; relayed {
		return p.label(relay)
	}
	return ""
}

func peerStatus(label string, s peer.Status, relay string) resource.PeerStatus {
	if s.State == "" {
		s.State = peer.Unknown
	}
	return resource.PeerStatus{
		Endpoint:           s.Endpoint,
		Label:              label,
		State:              s.State,
		ReceiveBytes:       s.ReceiveBytes,
		TransmitBytes:      s.TransmitBytes,
		LastHandshakeTime:  s.LastHandshake,
		LastUsedEndpoint:   s.LastUsedEndpoint,
		LastEndpointChange: s.LastEndpointChange,
		Relay:              relay,
	}
}
