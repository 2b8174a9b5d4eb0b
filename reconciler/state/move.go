package state

import "slices"

// Left returns the plan that removes the routes and rules of one scope that are not in another.
func Left(live State, after Scope) Plan {
	return slices.DeleteFunc(Move(live, after), func(c Change) bool { return c.Action() != Delete })
}

// Move returns the plan that moves the routes and rules of one scope to the table and the
// priority of another. The new ones are there before the old ones go, so that no packet for the
// mesh falls between the two.
func Move(live State, after Scope) Plan {
	var create, remove Plan
	for _, r := range live.Routes {
		moved := r
		if moved.Table = after.RoutingTable; moved != r {
			create.add(RouteChange{New: moved})
			remove.add(RouteChange{Old: r})
		}
	}
	var removeRules Plan
	for _, r := range live.Rules {
		moved := r
		if moved.Table, moved.Priority = after.RoutingTable, after.RulePriority; moved != r {
			create.add(RuleChange{New: moved})
			removeRules.add(RuleChange{Old: r})
		}
	}
	return append(append(create, removeRules...), remove...)
}
