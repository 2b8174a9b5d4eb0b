package agent

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

const (
	// APIVersion is that of the health that GetHealth returns.
	APIVersion = "spanctl/v1"
	// StateNoAgent is the state of a machine where no agent runs.
	StateNoAgent = "no agent"
)

// IsAbsent reports whether a health is that of a machine where no agent runs.
func IsAbsent(h *agentpb.GetHealthResponse) bool { return h.GetState() == StateNoAgent }

// healthReader reads the health of the machine.
type healthReader interface {
	Health(ctx context.Context) *agentpb.GetHealthResponse
}

// GetHealth implements the API.
func (s *service) GetHealth(ctx context.Context, _ *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	return connect.NewResponse(s.health.Health(ctx)), nil
}

// agentHealth is the health of a machine with an agent. It waits for nothing: neither for the loop
// nor for the network or a disk.
type agentHealth struct {
	started time.Time
	loop    *reconciler.Loop
	store   *resource.Store
	names   *namer
}

// Health implements healthReader.
func (a agentHealth) Health(context.Context) *agentpb.GetHealthResponse {
	turn := a.loop.Last()
	h := healthOf(time.Now(), a.started, turn)
	if h.Mesh != nil {
		h.Mesh.Wireguard = string(netlinkapply.WireguardOf(h.Mesh.Link))
	}
	if h.Cluster != nil {
		h.Cluster.Machines = machines(turn.Mesh.NodeID, a.store.List(resource.Members))
	}
	h.Names = a.names.shown()
	return h
}

// machines returns how many machines of the cluster are known, with this one, which may not be
// among the members yet.
func machines(own string, members []resource.Resource) uint32 {
	n := uint32(1)
	for _, r := range members {
		if r.Spec.(resource.Member).NodeID != own {
			n++
		}
	}
	return n
}

// healthOf returns the health after a turn of the loop of an agent that started at a time. Both
// times have their monotonic parts: the clock may be set meanwhile.
func healthOf(now, started time.Time, turn reconciler.Turn) *agentpb.GetHealthResponse {
	report, live := turn.HealthAt(now)
	h := &agentpb.GetHealthResponse{
		ApiVersion: APIVersion,
		State:      string(report.State),
		Ready:      report.Ready,
		Live:       live,
		Version:    version.Version,
		Hostname:   hostname(turn.Mesh.Hostname),
		Time:       timestamppb.New(now),
		Started:    timestamppb.New(now.Add(-now.Sub(started))),
	}
	for _, c := range report.Conditions {
		h.Conditions = append(h.Conditions, healthCondition(c))
	}
	if m := turn.Mesh; m.Link != "" {
		h.Mesh = &agentpb.Mesh{Link: m.Link, Address: m.Address.String(), Port: uint32(m.Port), Mtu: uint32(m.MTU)}
		seen := report.Mapping
		if h.Mesh.Nat = string(seen.Kind); seen.Address.IsValid() && seen.Kind != mesh.NATNone {
			h.Mesh.MappedAddress = seen.Address.String()
			for _, port := range seen.Ports {
				h.Mesh.MappedPorts = append(h.Mesh.MappedPorts, uint32(port))
			}
		}
		for _, mapped := range report.PortMappings {
			h.Mesh.PortMappings = append(h.Mesh.PortMappings, &agentpb.PortMapping{Endpoint: mapped.Endpoint.String(), Protocol: mapped.Protocol, BehindNat: report.IsBehindNAT(mapped)})
		}
		for _, f := range report.PortMappingFaults {
			h.Mesh.PortMappingFaults = append(h.Mesh.PortMappingFaults, &agentpb.PortMappingFault{Router: f.Router.String(), Refused: f.Refused, Error: f.Text})
		}
	}
	h.Relays, h.OfferedRelay = healthRelays(report.Relays), offeredRelay(report.Offered)
	if c := turn.File; c != nil && !c.Since.IsZero() {
		h.Config = &agentpb.ConfigInForce{Path: c.Path, Since: timestamppb.New(c.Since)}
	}
	if turn.Config != nil {
		h.Cluster = &agentpb.Cluster{}
		if key, err := turn.Config.Cluster.Secret.Key(); err == nil {
			h.Cluster.Fingerprint = mesh.Fingerprint(key, turn.Config.Cluster.ID)
		}
	}
	for i := range turn.Sessions {
		h.Discovery = append(h.Discovery, healthSession(&turn.Sessions[i]))
	}
	for _, r := range turn.Peers {
		h.Peers = append(h.Peers, healthPeer(r.ID, r.Spec.(resource.PeerStatus)))
	}
	slices.SortFunc(h.Peers, func(a, b *agentpb.Peer) int {
		return cmp.Or(cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetPublicKey(), b.GetPublicKey()))
	})
	return h
}

func healthCondition(c health.Condition) *agentpb.Condition {
	return &agentpb.Condition{Code: string(c.Code), Severity: string(c.Severity()), Subject: c.Subject, Cause: c.Cause,
		Remedy: c.Remedy, Since: timestamppb.New(c.Since), Doc: c.Code.Doc()}
}

func healthSession(s *health.Session) *agentpb.DiscoverySession {
	shown := &agentpb.DiscoverySession{Registry: s.Registry, Endpoint: s.URL, Connected: s.State == health.Connected, Error: s.Failure.Text}
	if !s.Since.IsZero() {
		shown.Since = timestamppb.New(s.Since)
	}
	if !s.Heard.IsZero() {
		shown.LastHeard = timestamppb.New(s.Heard)
	}
	return shown
}

func healthRelays(all []health.BlindRelay) (shown []*agentpb.BlindRelay) {
	for i := range all {
		r := &all[i]
		one := &agentpb.BlindRelay{Name: r.Name, Registered: r.Registered, OverTcp: r.OverTCP}
		for _, e := range r.Endpoints {
			one.Endpoints = append(one.Endpoints, e.String())
		}
		shown = append(shown, one)
	}
	return shown
}

// offeredRelay returns the relay that the machine is for others; nil for none.
func offeredRelay(o health.OfferedRelay) *agentpb.OfferedRelay {
	if o.Port == 0 {
		return nil
	}
	return &agentpb.OfferedRelay{Port: uint32(o.Port), Members: uint32(o.Members), Registered: uint32(o.Registered)}
}

func healthPeer(key string, s resource.PeerStatus) *agentpb.Peer {
	p := &agentpb.Peer{Name: s.Name, PublicKey: key, State: string(s.State), Relay: s.Relay, BlindRelay: s.BlindRelay, ReceivedBytes: float64(s.ReceiveBytes),
		TransmittedBytes: float64(s.TransmitBytes), PathKind: string(s.Path), NotDirect: s.NotDirect}
	switch {
	case s.Relay != "":
		p.Path = "relay " + s.Relay
	case s.BlindRelay != "":
		p.Path = "blind relay " + s.BlindRelay
	case s.Endpoint.IsValid():
		p.Path = s.Endpoint.String()
	}
	if s.SmoothedRTT > 0 {
		rtt := time.Duration(s.SmoothedRTT).Seconds()
		p.RttSeconds = &rtt
	}
	if percent, known := s.Loss.Value(); known {
		loss := percent / 100
		p.Loss = &loss
	}
	if !s.LastHandshakeTime.IsZero() {
		p.LastHandshake = timestamppb.New(s.LastHandshakeTime)
	}
	return p
}

// hostname returns the machine's name in the mesh, or else its own.
func hostname(inMesh string) string {
	name, _ := os.Hostname() // without it, the machine has no name
	return cmp.Or(inMesh, name)
}
