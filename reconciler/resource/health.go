package resource

import (
	"net/netip"
	"strconv"

	"github.com/spanmesh/span/reconciler/mesh"
)

// HealthStates has the health of the machine in a word, as "machine".
var HealthStates = &Type{
	Name:      "HealthStates",
	Namespace: "runtime",
	Aliases:   []string{"health", "healthstates", "healthstate"},
	columns: []column{
		columnOf("STATE", func(h HealthState) string { return h.State }),
		columnOf("READY", func(h HealthState) string { return strconv.FormatBool(h.Ready) }),
		wide(columnOf("NAT", func(h HealthState) string { return string(h.NAT) })),
		wide(columnOf("RELAYS", func(h HealthState) string { return jsonCell(h.Relays) })),
		wide(columnOf("OFFERED RELAY", func(h HealthState) string { return h.OfferedRelay })),
		wide(columnOf("PORT MAPPINGS", func(h HealthState) string { return jsonCell(h.PortMappings) })),
	},
	sample: HealthState{},
}

// HealthState is the spec of HealthStates.
type HealthState struct {
	// State is "healthy", "starting", "degraded" or "broken".
	State string `json:"state"`
	// Ready is set when the mesh carries traffic.
	Ready bool `json:"ready"`
	// NAT is how a NAT in front of the machine maps its UDP port: "none", "independent" (one port for
	// all destinations) or "dependent" (another for each); empty if that is not known.
	NAT mesh.NAT `json:"nat,omitempty"`
	// PortMappings are the addresses and ports that the router maps to the machine's UDP port, since it
	// was asked to.
	PortMappings []netip.AddrPort `json:"portMappings,omitempty"`
	// Relays are the blind relays that the machine has joined, each with how it is registered: "NAME by
	// UDP", "NAME over TCP" or "NAME not registered".
	Relays []string `json:"relays,omitempty"`
	// OfferedRelay is the blind relay that the machine is for others, such as "UDP 51821, 3 of 5 machines
	// registered"; empty for none.
	OfferedRelay string `json:"offeredRelay,omitempty"`
}
