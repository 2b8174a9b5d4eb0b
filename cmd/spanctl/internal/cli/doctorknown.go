package cli

import (
	"context"
	"encoding/json"
	"net/netip"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/doctor"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// routerMappings returns the port mappings of the router that the agent knows of.
func routerMappings(m *agentpb.Mesh) (all []mesh.PortMapping) {
	for _, mapped := range m.GetPortMappings() {
		if one, ok := routerMapping(mapped); ok {
			all = append(all, one)
		}
	}
	return all
}

func routerMapping(m *agentpb.PortMapping) (mapping mesh.PortMapping, ok bool) {
	endpoint, err := netip.ParseAddrPort(m.GetEndpoint())
	return mesh.PortMapping{Endpoint: endpoint, Protocol: m.GetProtocol()}, err == nil
}

// mappingsBehindNAT returns those of routerMappings that another NAT is in front of.
func mappingsBehindNAT(m *agentpb.Mesh) map[mesh.PortMapping]bool {
	all := map[mesh.PortMapping]bool{}
	for _, mapped := range m.GetPortMappings() {
		if one, ok := routerMapping(mapped); ok && mapped.GetBehindNat() {
			all[one] = true
		}
	}
	return all
}

// routerFaults returns why routers map no ports, as far as the agent knows.
func routerFaults(m *agentpb.Mesh) (all []mesh.PortMappingFault) {
	for _, f := range m.GetPortMappingFaults() {
		if router, err := netip.ParseAddr(f.GetRouter()); err == nil {
			all = append(all, mesh.PortMappingFault{Router: router, Refused: f.GetRefused(), Text: f.GetError()})
		}
	}
	return all
}

// relaysOf returns the blind relays that the machine has joined.
func relaysOf(h *agentpb.GetHealthResponse) (all []doctor.Relay) {
	for _, r := range h.GetRelays() {
		all = append(all, doctor.Relay{Name: r.GetName(), Registered: r.GetRegistered(), OverTCP: r.GetOverTcp(), Ports: r.GetEndpoints()})
	}
	return all
}

// offeredRelay returns the blind relay that the machine is for others.
func offeredRelay(h *agentpb.GetHealthResponse) health.OfferedRelay {
	o := h.GetOfferedRelay()
	return health.OfferedRelay{Port: uint16(o.GetPort()), Members: int(o.GetMembers()), Registered: int(o.GetRegistered())}
}

// configInForce returns the config that the agent has in force, without its secrets; nil where it does not
// say.
func (s *agentSession) configInForce(ctx context.Context) *schema.Config {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.MachineConfigs.Aliases[0]})
	if err != nil || len(response.GetResources()) != 1 {
		return nil // there is none
	}
	config := &schema.Config{}
	text, err := response.GetResources()[0].GetSpec().MarshalJSON()
	if err != nil || json.Unmarshal(text, config) != nil || config.KubeSpan().InterfaceName == "" {
		return nil
	}
	return config
}

// pathsOf returns what the agent's probes have shown of the peers; nil where it does not say.
func (s *agentSession) pathsOf(ctx context.Context) (all []doctor.Path) {
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.Paths.Aliases[0]})
	if err != nil {
		return nil // an agent of an earlier version does not know them
	}
	for _, r := range response.GetResources() {
		var p doctor.Path
		text, err := r.GetSpec().MarshalJSON()
		if err != nil || json.Unmarshal(text, &p) != nil {
			continue // not reached: it is as the agent has made it
		}
		all = append(all, p)
	}
	return all
}
