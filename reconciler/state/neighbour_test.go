package state_test

import (
	"slices"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// TestSeparate reads a machine on which another mesh has the usual numbers.
func TestSeparate(t *testing.T) {
	codes := func(s state.State) (all []condition.Code) {
		for _, c := range s.Conditions {
			if !c.Blocking || c.Subject != "other0" {
				t.Errorf("%v does not block a new mesh, or does not name the other link", c)
			}
			all = append(all, c.Code)
		}
		return all
	}
	in := inputs(t, 1)
	theirs := state.Build(in)
	for i := range theirs.Routes {
		if theirs.Routes[i].Link != "" {
			theirs.Routes[i].Link = "other0"
		}
	}
	for _, c := range []struct {
		name   string
		change func(*state.Scope, *state.State)
		want   []condition.Code
		owned  bool
	}{
		{"all numbers are shared", func(*state.Scope, *state.State) {},
			[]condition.Code{condition.MarkTaken, condition.TableTaken, condition.RulePriorityTaken}, false},
		{"the table and the priority are shared", func(scope *state.Scope, _ *state.State) { scope.MarkMask, scope.RoutedMark = 0x600, 0x400 },
			[]condition.Code{condition.TableTaken, condition.RulePriorityTaken}, false},
		{"the mark is shared", func(_ *state.Scope, s *state.State) { s.Routes, s.Rules = nil, nil }, []condition.Code{condition.MarkTaken}, false},
		{"nothing is shared", func(scope *state.Scope, s *state.State) {
			scope.MarkMask, scope.RoutedMark = 0x600, 0x400
			s.Routes, s.Rules = nil, nil
		}, nil, false},
		{"a mesh that exists keeps what has its mark", func(scope *state.Scope, s *state.State) { s.Link.Name = scope.LinkName },
			[]condition.Code{condition.MarkTaken, condition.TableTaken, condition.RulePriorityTaken}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			scope := state.ScopeOf(&in.KubeSpan)
			live := state.State{Routes: slices.Clone(theirs.Routes), Rules: slices.Clone(theirs.Rules),
				Neighbours: []state.Neighbour{{LinkName: "other0", Mark: 0x20, Mask: 0x60}}}
			c.change(&scope, &live)
			live.Separate(scope)
			if got := codes(live); !slices.Equal(got, c.want) {
				t.Errorf("the conditions are %v, want %v", got, c.want)
			}
			if live.Owned() != c.owned {
				t.Errorf("owned is %v: %+v", live.Owned(), live)
			}
		})
	}
}
