package walk

import "slices"

// Shrink returns a part of a failing walk that still fails, and does not if any one of its steps is left
// out: the algorithm ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
// 2002). It leaves out whole groups first. It ends early, with the shortest that it has, once more
// returns false.
func Shrink(w Walk, more func() bool, fails func(Walk) bool) Walk {
	groups := minimize(w.Groups(), more, func(kept []Walk) bool { return fails(slices.Concat(kept...)) })
	return minimize(slices.Concat(groups...), more, func(kept []Step) bool { return fails(kept) })
}

// minimize returns a part of list that fails.
func minimize[T any](list []T, more func() bool, fails func([]T) bool) []T {
	for parts := 2; len(list) > 1 && more(); {
		kept, ok := reduce(list, parts, more, fails)
		switch {
		case ok:
			list = kept
			parts = max(2, parts-1)
		case parts >= len(list):
			return list
		default:
			parts *= 2
		}
		parts = min(parts, len(list))
	}
	return list
}

// reduce cuts list into parts and returns what still fails: a part, or all but one.
func reduce[T any](list []T, parts int, more func() bool, fails func([]T) bool) ([]T, bool) {
	bounds := func(i int) (from, to int) { return i * len(list) / parts, (i + 1) * len(list) / parts }
	for i := range parts {
		from, to := bounds(i)
		if part := list[from:to:to]; more() && parts > 2 && fails(part) {
			return part, true
		}
	}
	for i := range parts {
		from, to := bounds(i)
		if rest := slices.Concat(list[:from], list[to:]); more() && fails(rest) {
			return rest, true
		}
	}
	return nil, false
}
