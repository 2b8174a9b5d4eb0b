package resource

import "strconv"

// HealthStates has the health of the machine in a word, as "machine".
var HealthStates = &Type{
	Name:      "HealthStates",
	Namespace: "runtime",
	Aliases:   []string{"health", "healthstates", "healthstate"},
	columns: []column{
		columnOf("STATE", func(h HealthState) string { return h.State }),
		columnOf("READY", func(h HealthState) string { return strconv.FormatBool(h.Ready) }),
	},
	sample: HealthState{},
}

// HealthState is the spec of HealthStates.
type HealthState struct {
	// State is "healthy", "starting", "degraded" or "broken".
	State string `json:"state"`
	// Ready is set when the mesh carries traffic.
	Ready bool `json:"ready"`
}
