package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// publish replaces the resources that `spanctl get` shows. The gathered part is large and
// changes rarely, so it is published only after a change.
func (e *Engine) publish(now time.Time, p *Pass) {
	e.publishConnections(now, p)
	if e.gathered != nil && e.published == e.gathered && p.config != nil {
		if p.ownersChanged {
			e.store.Replace(now, resource.PeerSpecs, p.peerSpecs(&e.owners))
		}
		return
	}
	e.published = nil
	if p.config != nil {
		e.published = e.gathered
	}
	e.store.Replace(now, resource.Identities, p.identities())
	e.store.Replace(now, resource.PeerSpecs, p.peerSpecs(&e.owners))
	e.store.Replace(now, resource.Affiliates, p.affiliates())
	e.store.Replace(now, resource.Members, p.memberSpecs())
}

func (p *Pass) identities() map[string]any {
	if p.local.KubeSpan.IsZero() {
		return nil
	}
	id := p.identity
	return map[string]any{"local": resource.IdentitySpec{Address: id.Address, Subnet: id.Subnet, PrivateKey: id.PrivateKey, PublicKey: id.PublicKey}}
}

func (p *Pass) affiliates() map[string]any {
	specs := make(map[string]any, len(p.merged)+len(p.refused))
	for id, reason := range p.refused {
		specs[id] = resource.Affiliate{Affiliate: mesh.Affiliate{NodeID: id}, Refused: reason}
	}
	for _, a := range p.merged {
		specs[a.NodeID] = resource.Affiliate{Affiliate: a, Refused: p.refused[a.NodeID]}
	}
	return specs
}

func (p *Pass) memberSpecs() map[string]any {
	specs := map[string]any{}
	for _, m := range mesh.Members(p.good) {
		specs[m.ID] = resource.Member{NodeID: m.NodeID, Addresses: m.Addresses, Hostname: m.Hostname,
			MachineType: m.MachineType, OperatingSystem: m.OperatingSystem, Version: m.Version}
	}
	return specs
}

func (p *Pass) peerSpecs(o *owners) map[string]any {
	contests := contestsByPrefix(o.contests)
	specs := make(map[string]any, len(p.specs))
	for i := range p.specs {
		spec := &p.specs[i]
		specs[spec.PublicKey.String()] = resource.PeerSpec{Address: spec.Address, AllowedIPs: spec.AllowedIPs,
			Endpoints: spec.Endpoints, Label: spec.Label, Claims: p.claimsOf(o, spec.PublicKey, contests),
			RefusedEndpoints: refusedEndpoints(spec.Refused)}
	}
	return specs
}

func refusedEndpoints(refused []mesh.EndpointRefusal) []resource.RefusedEndpoint {
	var shown []resource.RefusedEndpoint
	for _, r := range refused {
		shown = append(shown, resource.RefusedEndpoint{Endpoint: r.Endpoint, Reason: r.Reason})
	}
	return shown
}

// publishConnections replaces the resources that change with every reading of the peers.
func (e *Engine) publishConnections(now time.Time, p *Pass) {
	if !p.allStepped && len(p.specs) > 0 && isSame(e.shown.specs, p.specs) {
		e.publishStepped(now, p)
		return
	}
	e.shown = shown{specs: p.specs, at: make([]int, len(p.peers)), endpoints: make([]resource.Endpoint, len(p.peers))}
	statuses, endpoints := make(map[string]any, len(p.peers)), make(map[string]any, len(p.peers))
	for i := range p.peers {
		c := &p.peers[i]
		id := c.Key.String()
		statuses[id] = p.peerStatus(now, &p.specs[i], c)
		if endpoint := p.endpoint(i); endpoint != (resource.Endpoint{}) {
			e.shown.endpoints[i] = endpoint
			endpoints[id] = endpoint
		}
	}
	e.store.Replace(now, resource.PeerStatuses, statuses)
	e.statuses = e.store.List(resource.PeerStatuses)
	at := make(map[string]int, len(e.statuses))
	for i := range e.statuses {
		at[e.statuses[i].ID] = i
	}
	for i := range p.peers {
		e.shown.at[i] = at[p.peers[i].Key.String()]
	}
	e.store.Replace(now, resource.Endpoints, endpoints)
}

// shown is what the connections were published with.
type shown struct {
	specs []mesh.PeerSpec
	// at has the index of each peer in Engine.statuses, and endpoints what was published; zero for nothing.
	at        []int
	endpoints []resource.Endpoint
}

// publishStepped replaces the resources of the peers that the pass has stepped: those of the others are as
// they were.
func (e *Engine) publishStepped(now time.Time, p *Pass) {
	copied := false
	for _, i := range p.stepped {
		at := e.shown.at[i]
		id := e.statuses[at].ID
		status := p.peerStatus(now, &p.specs[i], &p.peers[i])
		if before, is := e.statuses[at].Spec.(resource.PeerStatus); !is || before != status {
			if !copied {
				e.statuses, copied = slices.Clone(e.statuses), true // turns have the old list
			}
			e.statuses[at] = e.store.Put(now, resource.PeerStatuses, id, status)
		}
		switch endpoint := p.endpoint(i); {
		case endpoint == e.shown.endpoints[i]:
			continue
		case endpoint == resource.Endpoint{}:
			e.store.Delete(resource.Endpoints, id)
		default:
			e.store.Put(now, resource.Endpoints, id, endpoint)
		}
		e.shown.endpoints[i] = p.endpoint(i)
	}
}

// endpoint returns what is published of where a peer is up; zero for nothing.
func (p *Pass) endpoint(i int) resource.Endpoint {
	c := &p.peers[i]
	if !c.IsUp() || !c.Status.Endpoint.IsValid() {
		return resource.Endpoint{}
	}
	return resource.Endpoint{AffiliateID: c.NodeID, Label: p.specs[i].Label, Endpoint: c.Status.Endpoint}
}

func (p *Pass) peerStatus(now time.Time, spec *mesh.PeerSpec, c *peer.Connection) resource.PeerStatus {
	s := &c.Status
	shown := resource.PeerStatus{
		Endpoint:           s.Endpoint,
		Label:              spec.Label,
		Name:               spec.Name,
		NodeID:             spec.NodeID,
		Address:            probeAddress(spec),
		State:              s.State,
		EchoesSent:         s.Echoes.Sent,
		EchoesAnswered:     s.Echoes.Answered,
		ReceiveBytes:       s.ReceiveBytes,
		TransmitBytes:      s.TransmitBytes,
		LastHandshakeTime:  s.LastHandshake,
		LastUsedEndpoint:   s.LastUsedEndpoint,
		LastEndpointChange: s.LastEndpointChange,
		RTT:                resource.Duration(s.RTT.Last),
		SmoothedRTT:        resource.Duration(s.RTT.Smoothed),
	}
	if shown.State == "" {
		shown.State = peer.Unknown
	}
	if c.Relayed() {
		shown.State, shown.Relay = peer.Up, p.name(c.Relay)
	}
	if c.IsBlind() {
		shown.BlindRelay = p.relay(c.BlindRelay)
	}
	shown.Path = c.PathKind(p.isLocal(s.Endpoint))
	if shown.Path.IsRelayed() {
		shown.NotDirect = p.notDirect(spec)
	}
	if loss, known := s.Loss(now); known {
		shown.Loss = resource.PercentOf(loss)
	}
	return shown
}

// isLocal reports whether an endpoint is one on loopback by which a relay is reached over TCP.
func (p *Pass) isLocal(e netip.AddrPort) bool {
	return e.IsValid() && slices.ContainsFunc(p.relays, func(r mesh.BlindRelay) bool { return r.Local == e })
}

// notDirect returns why no direct path leads to a peer; empty if it is not known.
func (p *Pass) notDirect(spec *mesh.PeerSpec) string {
	switch {
	case !p.direct.On:
		return p.direct.Off.Text()
	case !spec.Probes:
		return path.NoAgent.Text()
	default:
		return p.direct.Why[spec.PublicKey]
	}
}

// publishConfig replaces the resource of the config in force.
func (e *Engine) publishConfig(now time.Time, config *schema.Config) {
	e.store.Replace(now, resource.MachineConfigs, map[string]any{"machine": resource.MachineConfig{Config: config}})
}
