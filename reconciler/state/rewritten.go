package state

import (
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// minDropped is how many packets must have been dropped. A single one may have been on its way
// while rules or networks changed.
const minDropped = 3

// Since returns what was dropped after before. A count that is smaller began anew.
func (d Dropped) Since(before Dropped) Dropped {
	grown := func(now, before uint64) uint64 {
		if now < before {
			return now
		}
		return now - before
	}
	return Dropped{Marked: grown(d.Marked, before.Marked), Unmarked: grown(d.Unmarked, before.Unmarked), Bare: grown(d.Bare, before.Bare)}
}

// Rewritten returns the condition of packets that were dropped, within a time in which everything
// of spanctl's was in place: another program has changed their marks.
func Rewritten(scope Scope, dropped Dropped, within time.Duration) (condition.Condition, bool) {
	own := scope.MarkMask &^ scope.RoutedMark
	var causes []string
	for _, kind := range []struct {
		packets uint64
		what    string
	}{
		{dropped.Marked, fmt.Sprintf("packets to the mesh had the mark of WireGuard's own, %#x, and were none of its", own)},
		{dropped.Unmarked, fmt.Sprintf("packets to the mesh had lost the mark %#x that leads into it", scope.RoutedMark)},
		{dropped.Bare, fmt.Sprintf("of WireGuard's own packets had lost their mark %#x", own)},
	} {
		if kind.packets >= minDropped {
			causes = append(causes, fmt.Sprintf("%d %s", kind.packets, kind.what))
		}
	}
	return condition.Condition{
		Code: condition.MarkRewritten,
		Cause: fmt.Sprintf("in %s, %s: another program's rules change it after those of spanctl, which drops such packets, so that none leaves in clear",
			within.Round(time.Second), strings.Join(causes, ", and ")),
		Remedy: fmt.Sprintf("find the rule that sets marks (`nft list ruleset`, `iptables-save`) and keep it off the bits %#x, or set machine.network.kubespan.fwmark to a bit that no rule writes",
			scope.MarkMask),
	}, len(causes) > 0
}
