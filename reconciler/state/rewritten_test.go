package state_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

func TestRewritten(t *testing.T) {
	scope := state.Scope{MarkMask: 0x60, RoutedMark: 0x40}
	for _, c := range []struct {
		name        string
		before, now state.Dropped
		want        []string
	}{
		{"nothing was dropped", state.Dropped{}, state.Dropped{}, nil},
		{"what was dropped before is no news", state.Dropped{Marked: 90, Unmarked: 50}, state.Dropped{Marked: 90, Unmarked: 50}, nil},
		{"two packets were on their way", state.Dropped{Unmarked: 50}, state.Dropped{Unmarked: 52}, nil},
		{"marks are set", state.Dropped{Marked: 90}, state.Dropped{Marked: 210}, []string{"in 30s, 120 packets to the mesh had the mark of WireGuard's own, 0x20"}},
		{"marks are removed", state.Dropped{}, state.Dropped{Unmarked: 7}, []string{"7 packets to the mesh had lost the mark 0x40"}},
		{"WireGuard's marks are removed", state.Dropped{}, state.Dropped{Bare: 7, Marked: 3}, []string{"3 packets to the mesh had", "7 of WireGuard's own packets had lost their mark 0x20"}},
		{"the rules were written anew", state.Dropped{Marked: 1000}, state.Dropped{Marked: 4}, []string{"4 packets"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, is := state.Rewritten(scope, c.now.Since(c.before), 30*time.Second)
			if is != (len(c.want) > 0) || is && (got.Code != condition.MarkRewritten || !strings.Contains(got.Remedy, "the bits 0x60")) {
				t.Fatalf("found %v: %v", is, got)
			}
			for _, want := range c.want {
				if !strings.Contains(got.Cause, want) {
					t.Errorf("the cause is %q, want %q", got.Cause, want)
				}
			}
		})
	}
}
