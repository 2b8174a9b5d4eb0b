package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/mesh/ownership"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// publish replaces the resources that `spanctl get` shows. The gathered part is large and
// changes rarely, so it is published only after a change.
func (e *Engine) publish(now time.Time, p *Pass) {
	e.publishConnections(now, p)
	before := e.published
	e.published = p.id
	if p.config != nil && (before == p.id && !p.ownersChanged || p.follows(before)) {
		e.publishChanged(now, p)
		return
	}
	if before == 0 || before != p.id {
		e.store.Replace(now, resource.Identities, p.identities())
		e.store.Replace(now, resource.Members, p.memberSpecs())
		if p.inherits && p.inheritedFrom == before {
			e.publishJoined(now, p, p.last)
			return
		}
		e.store.Replace(now, resource.Affiliates, p.affiliates())
	}
	e.store.Replace(now, resource.PeerSpecs, p.peerSpecs(&e.owners))
}

// publishChanged replaces the resources of what a pass has changed.
func (e *Engine) publishChanged(now time.Time, p *Pass) {
	for _, i := range p.patched.nodes {
		a := p.merged[i]
		e.store.Put(now, resource.Affiliates, a.NodeID, resource.Affiliate{Affiliate: a})
		shared, is := e.store.Get(resource.Members, a.Nodename+"/"+a.NodeID)
		if is {
			before, member := shared.Spec.(resource.Member)
			is = member && before.NodeID == a.NodeID
		}
		if m, is := mesh.MemberOf(a, is); is {
			e.store.Put(now, resource.Members, m.ID, memberSpec(&m))
		}
	}
	for _, a := range p.patched.departed {
		e.store.Delete(resource.Affiliates, a.NodeID)
		e.store.Delete(resource.Members, a.Nodename) // no other one has its name
	}
	for _, i := range p.patched.left {
		e.store.Delete(resource.PeerSpecs, p.patched.before[i].PublicKey.String())
	}
	if len(p.respecified)+len(p.patched.specs) == 0 {
		return
	}
	contests := contestsByPrefix(e.owners.contests)
	publish := func(i int) {
		e.store.Put(now, resource.PeerSpecs, p.specs[i].PublicKey.String(), p.peerSpec(&e.owners, &p.specs[i], contests))
	}
	for _, i := range p.patched.specs {
		if !p.respecified[p.specs[i].PublicKey] {
			publish(i)
		}
	}
	for key := range p.respecified {
		if i, found := p.specAt(key); found {
			publish(i)
		}
	}
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
		specs[id] = resource.Affiliate{Affiliate: &mesh.Affiliate{NodeID: id}, Refused: reason}
	}
	for _, a := range p.merged {
		specs[a.NodeID] = resource.Affiliate{Affiliate: a, Refused: p.refused[a.NodeID]}
	}
	return specs
}

func (p *Pass) memberSpecs() map[string]any {
	specs := map[string]any{}
	members := mesh.Members(p.good)
	for i := range members {
		specs[members[i].ID] = memberSpec(&members[i])
	}
	return specs
}

func memberSpec(m *mesh.Member) resource.Member {
	return resource.Member{NodeID: m.NodeID, Addresses: m.Addresses, Hostname: m.Hostname,
		MachineType: m.MachineType, OperatingSystem: m.OperatingSystem, Version: m.Version}
}

func (p *Pass) peerSpecs(o *owners) map[string]any {
	contests := contestsByPrefix(o.contests)
	specs := make(map[string]any, len(p.specs))
	for i := range p.specs {
		specs[p.specs[i].PublicKey.String()] = p.peerSpec(o, &p.specs[i], contests)
	}
	return specs
}

func (p *Pass) peerSpec(o *owners, spec *mesh.PeerSpec, contests map[netip.Prefix]*ownership.Contest) resource.PeerSpec {
	return resource.PeerSpec{Address: spec.Address, AllowedIPs: spec.AllowedIPs, Endpoints: spec.Endpoints, Label: spec.Label,
		Claims: p.claimsOf(o, spec.PublicKey, contests), RefusedEndpoints: refusedEndpoints(spec.Refused)}
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
	if !p.allStepped && p.patched.edited(e.shown.specs) {
		e.showMembers(p)
	}
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
	e.statuses, e.shared = e.store.List(resource.PeerStatuses), false
	at := make(map[string]int, len(e.statuses))
	for i := range e.statuses {
		at[e.statuses[i].ID] = i
	}
	for i := range p.peers {
		e.shown.at[i] = at[p.peers[i].Key.String()]
	}
	e.store.Replace(now, resource.Endpoints, endpoints)
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
		ReceiveBytes:       s.Received,
		TransmitBytes:      s.Transmitted,
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
