package netlinkapply

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// WireguardOf returns where the WireGuard of a link runs; "" if there is no such link.
func WireguardOf(name string) Mode {
	link, err := netlink.LinkByName(name)
	switch {
	case err != nil:
		return ""
	case link.Type() == kindTUN:
		return InUserspace
	default:
		return InKernel
	}
}

// RoutingRule is a rule of the routing policy, whosever it is.
type RoutingRule struct {
	Family   state.Family
	Priority int
	// Table is the table that it leads to; 0 for none.
	Table int
	// Ours is set if spanctl made it.
	Ours bool
	// Narrow is set if it is for packets of certain links, sources, users, ports or marks only, or
	// of a protocol other than TCP and UDP.
	Narrow bool
	// Protocol is TCP or UDP (RFC 790) if it is for that alone; 0 for all.
	Protocol int
	// Destination is a network; the zero value for all.
	Destination netip.Prefix
}

// RoutingRules reads the rules of this machine. No right is needed for it.
func RoutingRules() ([]RoutingRule, error) {
	var all []RoutingRule
	for _, f := range state.Families {
		list, err := netlink.RuleList(family(f))
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			all = append(all, RoutingRule{Family: f, Priority: r.Priority, Table: r.Table, Ours: r.Protocol == state.Protocol,
				Narrow: isNarrow(r), Protocol: r.IPProto,
				Destination: prefix(r.Dst)})
		}
	}
	return all, nil
}

// isNarrow reports whether a rule is for some packets to its destination only. One for all packets
// but those with a mark is not.
func isNarrow(r netlink.Rule) bool {
	return r.IifName != "" || r.OifName != "" || r.Src != nil || r.UIDRange != nil || r.Mark != 0 && !r.Invert ||
		r.IPProto != 0 && r.IPProto != unix.IPPROTO_TCP && r.IPProto != unix.IPPROTO_UDP || r.Dport != nil || r.Sport != nil || r.Tos != 0
}

// KernelHasWireGuard reports whether the kernel has WireGuard now. A module may have to be loaded.
func KernelHasWireGuard() bool {
	_, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	return err == nil
}
