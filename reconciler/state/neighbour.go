package state

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
)

// Neighbour is another mesh of the same machine. Its packets are encrypted, so that neither mesh
// carries those of the other, and neither drops them.
type Neighbour struct {
	LinkName string
	// Mark is the mark of its WireGuard's own packets, within Mask.
	Mark, Mask uint32
	// Port is the UDP port of its WireGuard; 0 if an agent of an earlier version made it.
	Port int
}

// routed returns the mark of packets that are routed into the neighbour's tunnel.
func (n Neighbour) routed() uint32 { return n.Mask &^ n.Mark }

// Separate removes from a live state what belongs to other meshes of the machine. It adds a
// condition for each mark, table or priority that two meshes share.
func (s *State) Separate(scope Scope) {
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int { return cmp.Compare(a.LinkName, b.LinkName) })
	before := len(s.Conditions)
	for _, n := range s.Neighbours {
		if n.Mask&scope.MarkMask != 0 {
			s.shared(n, condition.MarkTaken, fmt.Sprintf("uses the firewall mark %#x/%#x", n.Mark, n.Mask), "fwmark to unused bits")
		}
		if theirs := func(r Route) bool { return r.Link == n.LinkName }; slices.ContainsFunc(s.Routes, theirs) {
			s.shared(n, condition.TableTaken, fmt.Sprintf("uses the routing table %d", scope.RoutingTable), "routingTable to an unused table")
			s.Routes = slices.DeleteFunc(s.Routes, theirs)
		}
		if theirs := func(r Rule) bool { return r.Mark == n.routed() && r.Mask == n.Mask }; slices.ContainsFunc(s.Rules, theirs) {
			s.shared(n, condition.RulePriorityTaken, fmt.Sprintf("uses the rule priority %d", scope.RulePriority), "rulePriority to an unused number")
			s.Rules = slices.DeleteFunc(s.Rules, func(r Rule) bool { return theirs(r) && r.Mark != scope.RoutedMark })
		}
	}
	if len(s.Conditions) > before && s.Link.Name == "" && !s.Firewall.exists() {
		// Without a mesh of its own, nothing that is shared is this mesh's.
		s.Routes, s.Rules = nil, nil
	}
}

// shared adds the condition of something that the neighbour uses too.
func (s *State) shared(n Neighbour, code condition.Code, what, remedy string) {
	s.Conditions = append(s.Conditions, condition.Condition{
		Code:     code,
		Subject:  n.LinkName,
		Cause:    fmt.Sprintf("the mesh of the link %s on this machine %s", n.LinkName, what),
		Remedy:   fmt.Sprintf("set machine.network.kubespan.%s, or take the other mesh down: `spanctl down --link %s`", remedy, n.LinkName),
		Blocking: true,
	})
}
