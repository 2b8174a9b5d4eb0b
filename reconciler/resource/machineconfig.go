package resource

import (
	"strconv"

	"github.com/spanmesh/span/schema"
)

// MachineConfigs has the config in force, with every default.
var MachineConfigs = &Type{
	Name:      "MachineConfigs",
	Namespace: "config",
	Aliases:   []string{"machineconfigs", "machineconfig", "mc"},
	columns: []column{
		shows("machine.network.kubespan.enabled", columnOf("KUBESPAN", func(c MachineConfig) string { return strconv.FormatBool(c.KubeSpan().Enabled) })),
		shows("cluster.discovery.enabled", columnOf("DISCOVERY", func(c MachineConfig) string { return strconv.FormatBool(c.Cluster.Discovery.Enabled) })),
	},
	sample: MachineConfig{&schema.Config{}},
}

// MachineConfig is the spec of MachineConfigs.
type MachineConfig struct{ *schema.Config }

// Revealed returns the spec with its secrets.
func (c MachineConfig) Revealed() any { return c.Config.Revealed() }
