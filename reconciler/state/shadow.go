package state

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spanmesh/span/reconciler/condition"
)

// Shadowed returns a condition for each rule of another program that leads packets for the
// mesh elsewhere, and the paths that showed it. Ways are the kernel's answers to paths.
func Shadowed(scope Scope, ahead []ForeignRule, paths []Path, ways []Way) ([]condition.Condition, []Path) {
	var found []condition.Condition
	var shown []Path
	for i, p := range paths {
		if i >= len(ways) {
			break
		}
		r, way, elsewhere := deciding(scope, ahead, p, ways[i])
		if !elsewhere {
			continue
		}
		c := shadowed(r, p, way)
		if slices.ContainsFunc(found, func(f condition.Condition) bool { return f.Subject == c.Subject }) {
			continue
		}
		found, shown = append(found, c), append(shown, p)
	}
	return found, shown
}

// deciding returns the rule that leads a packet elsewhere, and where to.
func deciding(scope Scope, ahead []ForeignRule, p Path, w Way) (ForeignRule, Way, bool) {
	if w == (Way{}) && !p.isAskable() {
		// What the first rule does that matches is known where that refuses.
		w.Refused = true
		i := slices.IndexFunc(ahead, func(r ForeignRule) bool { return r.matches(p) })
		if i < 0 || !ahead[i].Refuses {
			return ForeignRule{}, w, false
		}
		return ahead[i], w, true
	}
	if w == (Way{}) || w.Link == scope.LinkName || w.Table == scope.RoutingTable {
		return ForeignRule{}, w, false
	}
	i := slices.IndexFunc(ahead, func(r ForeignRule) bool { return r.matches(p) && (r.Refuses || !p.Unmarked) && r.decides(scope, w) })
	if i < 0 {
		return ForeignRule{}, w, false
	}
	return ahead[i], w, true
}

// decides reports whether a rule that matches may have led to the way.
func (r ForeignRule) decides(scope Scope, w Way) bool {
	switch {
	case r.Refuses:
		return w.Refused
	case r.Goto != 0:
		return r.Goto > scope.RulePriority
	default:
		return w.Refused || r.Table == w.Table
	}
}

func shadowed(r ForeignRule, p Path, w Way) condition.Condition {
	out, dropped := "are refused", ""
	if w.Link != "" {
		dropped = "; spanctl drops them, so that none leaves in clear"
		out = fmt.Sprintf("leave by %s, through table %d,", w.Link, w.Table)
	}
	to := p.To.String()
	if p.From.IsValid() {
		to += " from " + p.From.String()
	}
	what := "packets"
	if p.Protocol != 0 {
		what = strings.ToUpper(protocolName(p.Protocol)) + " packets"
	}
	remedy := fmt.Sprintf("remove the rule with `ip -%d rule del priority %d`, or give it a priority after that of spanctl", r.Family, r.Priority)
	if r.Priority > 1 {
		remedy = fmt.Sprintf("set machine.network.kubespan.rulePriority below %d, or remove that rule with `ip -%d rule del priority %d`",
			r.Priority, r.Family, r.Priority)
	}
	var level condition.Severity
	if r.isPartial() {
		level = condition.SeverityWarning
	}
	return condition.Condition{
		Code:    condition.RoutesShadowed,
		Level:   level,
		Subject: fmt.Sprintf("%s rule %d", r.Family, r.Priority),
		Cause: fmt.Sprintf("%s to %s %s and not through the mesh, because the %s rule %q of another program comes first "+
			"(a rule that is added without a priority comes before all others)%s", what, to, out, r.Family, r, dropped),
		Remedy: remedy,
	}
}
