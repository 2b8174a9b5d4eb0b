package reconciler

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/link"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// publish shows the pass in the resource store. Resources of a mesh that is not
// there are gone.
func (e *Engine) publish(now time.Time, p *Pass) {
	identities := map[string]any{}
	if !p.Local.KubeSpan.IsZero() {
		id := p.identity
		identities["local"] = resource.IdentitySpec{Address: id.Address, Subnet: id.Subnet, PrivateKey: id.PrivateKey, PublicKey: id.PublicKey}
	}
	lost := make(map[mesh.Key]mesh.Overlap, len(p.overlaps))
	for _, o := range p.overlaps {
		lost[o.Loser] = o
	}
	specs, statuses, endpoints := map[string]any{}, map[string]any{}, map[string]any{}
	for _, spec := range p.specs {
		id := spec.PublicKey.String()
		shown := resource.PeerSpec{Address: spec.Address, AllowedIPs: spec.AllowedIPs, Endpoints: spec.Endpoints, Label: spec.Label}
		if o, ok := lost[spec.PublicKey]; ok {
			shown.Overlap = fmt.Sprintf("addresses from %s belong to %s", o.From, o.Winner)
		}
		specs[id] = shown
		s := p.statuses[spec.PublicKey]
		statuses[id] = peerStatus(spec.Label, s)
		if s.State == link.Up && s.Endpoint.IsValid() {
			endpoints[id] = resource.Endpoint{AffiliateID: spec.NodeID, Endpoint: s.Endpoint}
		}
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
		resource.Identities:   identities,
		resource.PeerSpecs:    specs,
		resource.PeerStatuses: statuses,
		resource.Endpoints:    endpoints,
		resource.Affiliates:   affiliates,
		resource.Members:      members,
	} {
		e.store.Replace(now, t, resources)
	}
}

func peerStatus(label string, s link.Status) resource.PeerStatus {
	if s.State == "" {
		s.State = link.Unknown
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
	}
}
