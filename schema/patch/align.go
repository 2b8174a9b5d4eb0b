package patch

import "reflect"

// pair is an element of a list before and after a change; -1 where there is none.
type pair struct{ before, after int }

// alignment returns which elements of a list are removed, and which are added. Change changes an
// element that stays; alignment reports false if one cannot be changed.
func alignment(before, after []any, change func(i int, from, to map[string]any) bool) (removed []bool, added []element, ok bool) {
	removed = make([]bool, len(before))
	last := -1
	for _, p := range align(before, after) {
		if p.before >= 0 {
			last = p.before
		}
		switch {
		case p.after < 0:
			removed[p.before] = true
		case p.before < 0:
			added = append(added, element{after: last, value: after[p.after]})
		case !reflect.DeepEqual(before[p.before], after[p.after]):
			from, _ := before[p.before].(map[string]any)
			to, _ := after[p.after].(map[string]any)
			if len(from) == 0 || len(to) == 0 || !change(p.before, from, to) {
				return nil, nil, false
			}
		}
	}
	return removed, added, true
}

// maxAligned is how many comparisons the alignment of two lists may take.
const maxAligned = 1 << 20

// align pairs the elements of two lists, in the order of both: those that are the same, those with
// the same name, and structs that are alike between such.
func align(before, after []any) (pairs []pair) {
	head := 0
	for head < len(before) && head < len(after) && corresponds(before[head], after[head]) {
		pairs = append(pairs, pair{head, head})
		head++
	}
	tail := 0
	for tail < len(before)-head && tail < len(after)-head && corresponds(before[len(before)-1-tail], after[len(after)-1-tail]) {
		tail++
	}
	pairs = append(pairs, middle(before, after, head, len(before)-tail, len(after)-tail)...)
	for i := tail; i > 0; i-- {
		pairs = append(pairs, pair{len(before) - i, len(after) - i})
	}
	return pairs
}

// corresponds reports whether two elements are the same one, perhaps changed.
func corresponds(a, b any) bool {
	one, ok := a.(map[string]any)
	other, okay := b.(map[string]any)
	if ok && okay && one["name"] != nil {
		return reflect.DeepEqual(one["name"], other["name"])
	}
	return reflect.DeepEqual(a, b)
}

// middle pairs the elements from head up to an end in each list by their longest common
// subsequence.
func middle(before, after []any, head, beforeEnd, afterEnd int) (pairs []pair) {
	n, m := beforeEnd-head, afterEnd-head
	// length[i][j] is that of the rests from i and j on.
	length := make([][]int, n+1)
	if n*m > maxAligned {
		return gap(before, after, head, beforeEnd, head, afterEnd)
	}
	for i := n; i >= 0; i-- {
		length[i] = make([]int, m+1)
		for j := m - 1; j >= 0 && i < n; j-- {
			if corresponds(before[head+i], after[head+j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	i, j, fromI, fromJ := 0, 0, 0, 0
	for i < n && j < m {
		switch {
		case corresponds(before[head+i], after[head+j]):
			pairs = append(pairs, gap(before, after, head+fromI, head+i, head+fromJ, head+j)...)
			pairs = append(pairs, pair{head + i, head + j})
			i, j = i+1, j+1
			fromI, fromJ = i, j
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return append(pairs, gap(before, after, head+fromI, beforeEnd, head+fromJ, afterEnd)...)
}

// gap pairs elements between two that correspond: structs that are alike as long as there are such.
func gap(before, after []any, i, iEnd, j, jEnd int) (pairs []pair) {
	for i < iEnd && j < jEnd && alike(before[i], after[j]) {
		pairs = append(pairs, pair{i, j})
		i, j = i+1, j+1
	}
	for ; i < iEnd; i++ {
		pairs = append(pairs, pair{i, -1})
	}
	for ; j < jEnd; j++ {
		pairs = append(pairs, pair{-1, j})
	}
	return pairs
}

// alike reports whether half of the fields of two structs, or more, are the same.
func alike(a, b any) bool {
	one, ok := a.(map[string]any)
	other, okay := b.(map[string]any)
	same := 0
	for name, value := range one {
		if its, has := other[name]; has && reflect.DeepEqual(its, value) {
			same++
		}
	}
	return ok && okay && 2*same >= max(len(one), len(other))
}
