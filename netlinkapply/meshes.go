package netlinkapply

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// Mesh is a mesh of spanctl's that is found by its marks, without its config.
type Mesh struct {
	Scope state.Scope
	// Owner is that of the Kernel that made the link; empty if it is not known.
	Owner string
	// PublicKey is that of the link; zero if there is no link, or it does not answer.
	PublicKey mesh.Key
}

// noTable is a routing table that nobody has: a mesh without routes and rules owns none.
const noTable = 1<<32 - 2

// Meshes returns the meshes in the network namespace, by the names of their links: those with a
// link that has spanctl's alias, with a WireGuard process or with a table of nftables.
func (k *Kernel) Meshes() ([]Mesh, error) {
	links, err := dump(k.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	found := map[string]*Mesh{}
	named := func(name string) *Mesh {
		if found[name] == nil {
			found[name] = &Mesh{Scope: state.Scope{LinkName: name, RoutingTable: noTable, FirewallTable: state.TableName(name), GuardTable: state.GuardName(name)}}
		}
		return found[name]
	}
	byIndex := map[int]string{}
	for _, link := range links {
		if name, owner, ours := parseAlias(link.Attrs().Alias); ours {
			named(name).Owner = owner
			byIndex[link.Attrs().Index] = name
		}
	}
	for name, index := range processLinks(links) {
		named(name)
		byIndex[index] = name
	}
	_, tables, err := firewall.Observe(state.Scope{})
	if err != nil {
		return nil, explain(err)
	}
	for _, t := range tables {
		m := named(t.LinkName)
		m.Scope.MarkMask, m.Scope.RoutedMark = t.Mask, t.Mask&^t.Mark
	}
	if err := k.readScopes(found, byIndex); err != nil {
		return nil, explain(err)
	}
	var all []Mesh
	for _, name := range slices.Sorted(maps.Keys(found)) {
		m := *found[name]
		if device, _, err := k.Device(m.Scope); err == nil && !device.PrivateKey.IsZero() {
			m.PublicKey = device.PrivateKey.Public()
		}
		all = append(all, m)
	}
	return all, nil
}

// processLinks returns the names of the links that WireGuard processes of spanctl serve in this
// network namespace, with the indexes of their devices.
func processLinks(links []netlink.Link) map[string]int {
	indexes := map[string]int{}
	for _, name := range userspace.Links() {
		present, err := userspace.DeviceName(name)
		if err != nil {
			continue // another program's, or in another network namespace
		}
		for _, link := range links {
			if link.Attrs().Name == present && link.Type() == kindTUN {
				indexes[name] = link.Attrs().Index
			}
		}
	}
	return indexes
}

// readScopes finds the routing tables of meshes by the routes over their links, and the priorities
// of their rules by the tables or by their marks.
func (k *Kernel) readScopes(found map[string]*Mesh, byIndex map[int]string) error {
	for _, f := range state.Families {
		routes, err := dump(func() ([]netlink.Route, error) {
			return k.routes.RouteListFiltered(family(f), &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: state.Protocol},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if m := found[byIndex[r.LinkIndex]]; m != nil {
				m.Scope.RoutingTable = r.Table
			}
		}
	}
	for _, f := range state.Families {
		rules, err := dump(func() ([]netlink.Rule, error) { return k.handle.RuleList(family(f)) })
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			for _, m := range found {
				if r.Protocol == state.Protocol && m.has(r) {
					m.Scope.RoutingTable, m.Scope.RulePriority = r.Table, r.Priority
				}
			}
		}
	}
	return nil
}

// has reports whether a rule is that of the mesh.
func (m *Mesh) has(r netlink.Rule) bool {
	if r.Mask != nil && m.Scope.MarkMask != 0 {
		return *r.Mask == m.Scope.MarkMask && r.Mark == m.Scope.RoutedMark
	}
	return r.Table == m.Scope.RoutingTable
}
