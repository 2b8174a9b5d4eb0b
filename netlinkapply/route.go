package netlinkapply

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// family returns the kernel's number of an IP version.
func family(f state.Family) int {
	if f == state.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (k *Kernel) observeRoutes(s *state.State, scope state.Scope) error {
	filter := &netlink.Route{Table: scope.RoutingTable}
	for _, f := range state.Families {
		routes, err := dump(func() ([]netlink.Route, error) {
			return k.routes.RouteListFiltered(family(f), filter, netlink.RT_FILTER_TABLE)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // the table has no routes
			return err
		}
		var foreign []netlink.Route
		for _, r := range routes {
			if r.Protocol != state.Protocol {
				// The kernel adds some by itself, such as those of multicast.
				if r.Protocol != unix.RTPROT_KERNEL {
					foreign = append(foreign, r)
				}
				continue
			}
			s.Routes = append(s.Routes, k.seenRoute(f, r))
		}
		if len(foreign) > 0 {
			s.Conditions = append(s.Conditions, foreignRoute(f, foreign[0]))
		}
	}
	return nil
}

// foreignRoute returns the condition of a table that has a route of another program.
func foreignRoute(f state.Family, r netlink.Route) condition.Condition {
	return condition.Condition{
		Code:     condition.TableTaken,
		Subject:  f.String(),
		Cause:    fmt.Sprintf("routing table %d has routes of another program, such as that to %s", r.Table, destination(f, r)),
		Remedy:   fmt.Sprintf("set machine.network.kubespan.routingTable to an unused table, or remove them with `ip -%d route flush table %d`", f, r.Table),
		Blocking: true,
	}
}

// seenRoute returns a route of spanctl's.
func (k *Kernel) seenRoute(f state.Family, r netlink.Route) state.Route {
	seen := state.Route{Family: f, Type: routeType(r.Type), Destination: destination(f, r), Table: r.Table, Metric: r.Priority, MTU: r.MTU}
	if seen.Type == state.Unreachable {
		return seen // the kernel shows those of IPv6 on lo
	}
	if link, err := k.handle.LinkByIndex(r.LinkIndex); err == nil {
		seen.Link = link.Attrs().Name
	}
	return seen
}

// routeTypes are the kernel's numbers of the types of routes.
var routeTypes = map[state.RouteType]int{
	state.Unicast:     unix.RTN_UNICAST,
	state.Local:       unix.RTN_LOCAL,
	state.Unreachable: unix.RTN_UNREACHABLE,
}

// routeType returns the type with the kernel's number.
func routeType(number int) state.RouteType {
	for t, n := range routeTypes {
		if n == number {
			return t
		}
	}
	return state.RouteType(fmt.Sprintf("type %d", number))
}

// destination returns the destination of a route. The kernel leaves it out for a default route.
func destination(f state.Family, r netlink.Route) netip.Prefix {
	if r.Dst != nil {
		if prefix, ok := netipx.FromStdIPNet(r.Dst); ok {
			return prefix
		}
	}
	return f.Everything()
}

func (k *Kernel) changeRoute(c state.RouteChange) error {
	deleted := c.Action() == state.Delete
	r := c.New
	if deleted {
		r = c.Old
	}
	route := &netlink.Route{
		Family:   family(r.Family),
		Type:     routeTypes[r.Type],
		Dst:      netipx.PrefixIPNet(r.Destination),
		Table:    r.Table,
		Priority: r.Metric,
		Protocol: state.Protocol,
		MTU:      r.MTU,
	}
	if r.Link != "" {
		link, err := k.handle.LinkByName(r.Link)
		var absent netlink.LinkNotFoundError
		switch {
		case err == nil:
			route.LinkIndex = link.Attrs().Index
		case !deleted || !errors.As(err, &absent):
			return err
		}
	}
	if deleted {
		err := k.handle.RouteDel(route)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	}
	err := k.handle.RouteReplace(route)
	if r.Family == state.IPv6 {
		return explainIPv6(r.Link, err)
	}
	return err
}
