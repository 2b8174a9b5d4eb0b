package reconciler

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestEdit edits random sorted lists.
func TestEdit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	buffer := []int{9, 9, 9}
	for range 2000 {
		var list, joined, want []int
		var left []int
		for n := range 12 {
			switch r.IntN(4) {
			case 0:
				left, list = append(left, len(list)), append(list, n)
			case 1:
				list, want = append(list, n), append(want, n)
			case 2:
				joined, want = append(joined, n), append(want, n)
			}
		}
		before := slices.Clone(list)
		got, at := edit(buffer, list, left, joined, func(a, b *int) int { return cmp.Compare(*a, *b) })
		if !slices.Equal(got, want) {
			t.Fatalf("%v without those at %v and with %v is %v, want %v", list, left, joined, got, want)
		}
		if !slices.Equal(list, before) {
			t.Fatalf("%v has become %v", before, list)
		}
		for i, place := range at {
			if got[place] != joined[i] {
				t.Fatalf("%d is said to be at %d of %v", joined[i], place, got)
			}
		}
	}
}
