package netlinkapply

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
	// Former are the other tables and priorities where the mesh has routes or rules, each as a scope
	// of the same link: those of an earlier config.
	Former []state.Scope
	// Owner is that of the Kernel that made the link; empty if it is not known.
	Owner string
	// PublicKey is that of the link; zero if there is no link, or it does not answer.
	PublicKey mesh.Key
}

// noTable is a routing table that nobody has: a mesh without routes and rules owns none.
const noTable = 1<<32 - 2

// noPriority is the priority of no rule of spanctl's: a mesh without rules owns none.
const noPriority = 0

// HasRouting reports whether a scope that Meshes has found has routes or rules.
func HasRouting(s state.Scope) bool {
	return s.RoutingTable != noTable && s.RoutingTable != unix.RT_TABLE_UNSPEC
}

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
	var nftables firewall.Tables
	_, tables, err := nftables.Observe(state.Scope{}, time.Now())
	nftables.Close()
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
		m.Former = slices.DeleteFunc(m.Former, func(s state.Scope) bool { return s == m.Scope })
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
				m.add(r.Table, noPriority)
			}
		}
	}
	for _, f := range state.Families {
		rules, err := dump(func() ([]netlink.Rule, error) { return k.handle.RuleList(family(f)) })
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			if m := meshOf(found, r); m != nil {
				m.add(r.Table, r.Priority)
			}
		}
	}
	return nil
}

// add notes a routing table of the mesh, and the priority of rules that lead to it.
func (m *Mesh) add(table, priority int) {
	scope := m.Scope
	scope.RoutingTable, scope.RulePriority = table, priority
	at := slices.IndexFunc(m.Former, func(s state.Scope) bool {
		return s.RoutingTable == table && (s.RulePriority == priority || s.RulePriority == noPriority)
	})
	if at < 0 {
		m.Former = append(m.Former, scope)
	} else {
		m.Former[at] = scope
	}
	m.Scope = scope
}

// meshOf returns the mesh of a rule: that with its mark, or else that whose routes are in its table.
// It returns nil where there is none.
func meshOf(found map[string]*Mesh, r netlink.Rule) *Mesh {
	if r.Protocol != state.Protocol {
		return nil
	}
	var byTable *Mesh
	for _, m := range found {
		if r.Mask != nil && m.Scope.MarkMask != 0 && *r.Mask == m.Scope.MarkMask && r.Mark == m.Scope.RoutedMark {
			return m
		}
		if m.uses(r.Table) {
			byTable = m
		}
	}
	return byTable
}

// uses reports whether the mesh has routes in a table.
func (m *Mesh) uses(table int) bool {
	return slices.ContainsFunc(m.Former, func(s state.Scope) bool { return s.RoutingTable == table })
}
