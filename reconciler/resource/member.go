package resource

import (
	"net/netip"
	"slices"
)

// Members has the affiliates with a nodename, by nodename: NODENAME/NODE-ID where several machines
// share it.
var Members = &Type{
	Name:      "Members",
	Namespace: "cluster",
	Aliases:   []string{"members", "member"},
	columns: []column{
		columnOf("HOSTNAME", func(m Member) string { return m.Hostname }),
		columnOf("MACHINE TYPE", func(m Member) string { return m.MachineType }),
		shows("operatingSystem", columnOf("OS", func(m Member) string { return m.OperatingSystem })),
		columnOf("ADDRESSES", func(m Member) string { return jsonCell(m.Addresses) }),
		shows("version", wide(columnOf("SPANCTL", func(m Member) string { return m.Version }))),
		wide(columnOf("NODE ID", func(m Member) string { return m.NodeID })),
	},
	names:  namesOf(func(m Member) []string { return []string{m.Hostname, m.NodeID} }),
	sample: Member{},
}

// Member is the spec of Members.
type Member struct {
	// NodeID is the ID of the machine in discovery.
	NodeID string `json:"nodeId"`
	// Addresses are those of its links.
	Addresses []netip.Addr `json:"addresses"`
	// Hostname is its host name.
	Hostname string `json:"hostname"`
	// MachineType is "worker" or "controlplane".
	MachineType string `json:"machineType"`
	// OperatingSystem is its name and version.
	OperatingSystem string `json:"operatingSystem"`
	// Version is that of spanctl on it; empty where there is none, or it is not known.
	Version string `json:"version,omitempty"`
}

// Equal reports whether other is an equal spec.
func (m Member) Equal(other any) bool {
	o, ok := other.(Member)
	return ok && m.NodeID == o.NodeID && m.Hostname == o.Hostname && m.MachineType == o.MachineType &&
		m.OperatingSystem == o.OperatingSystem && m.Version == o.Version && slices.Equal(m.Addresses, o.Addresses)
}
