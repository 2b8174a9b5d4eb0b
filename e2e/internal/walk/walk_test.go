package walk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var letters = []string{"a", "b", "c"}

func TestTheSeedGivesTheWalk(t *testing.T) {
	t.Parallel()
	w := Generate(7, 200, letters, 6)
	if diff := cmp.Diff(w, Generate(7, 200, letters, 6)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(w, Generate(8, 200, letters, 6)) {
		t.Error("another seed gives the same walk")
	}
	if n := w.Faults(); n != 200 {
		t.Errorf("%d faults, want 200", n)
	}
	sizes := map[int]int{}
	for _, group := range w.Groups() {
		sizes[group.Faults()]++
		for i, s := range group {
			if (s.Action == Heal) != (i == len(group)-1) || s.Node < 0 || s.Node > 5 || s.Pause < 0 || s.Pause > 2*time.Second {
				t.Errorf("step %d of a group is %v", i, s)
			}
		}
	}
	for n := 1; n <= 4; n++ {
		if sizes[n] == 0 {
			t.Errorf("no group has %d faults: %v", n, sizes)
		}
	}
	if len(sizes) != 4 {
		t.Errorf("groups have %v faults", sizes)
	}
}

func TestLegsAreTheWalk(t *testing.T) {
	t.Parallel()
	w := Generate(1, 50, letters, 6)
	for n := 1; n <= 60; n++ {
		legs := w.Legs(n)
		if diff := cmp.Diff(w, slices.Concat(legs...)); diff != "" {
			t.Errorf("%d legs: %s", n, diff)
		}
		if len(legs) != min(n, len(w.Groups())) {
			t.Errorf("%d legs, want %d", len(legs), n)
		}
		for _, leg := range legs {
			if len(leg) == 0 || leg[len(leg)-1].Action != Heal {
				t.Errorf("a leg of %d is %v", n, leg)
			}
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	w := Generate(3, 100, letters, 6)
	got, err := Parse("# a comment\n\n" + w.String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, got); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		"heal\na 1 2":       "line 2: \"a 1 2\": want an action",
		"a x 2 1ms":         "line 1: the node: ",
		"a 1 x 1ms":         "line 1: the argument: ",
		"a 1 2 x":           "line 1: the pause: ",
		"a -1 2 1ms":        "negative",
		"# c\nheal 1\n":     "line 2: ",
		"a 1 2 1ms trailer": "line 1: ",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func always() bool { return true }

func TestShrink(t *testing.T) {
	t.Parallel()
	w := Generate(5, 300, letters, 6)
	// These three steps fail together, in this order, with a Heal between the first two.
	number := func(n int) Step { return Step{Action: "culprit", Node: n} }
	for _, at := range [][3]int{{0, 200, 250}, {17, 19, 300}, {100, 220, 221}} {
		walk := slices.Clone(w)
		for i, position := range at {
			walk = slices.Insert(walk, position, number(i))
		}
		tries := 0
		fails := func(w Walk) bool {
			tries++
			next, healed := 0, false
			for _, s := range w {
				switch {
				case s == number(next) && (next != 1 || healed):
					next++
				case s.Action == Heal && next == 1:
					healed = true
				}
			}
			return next == 3
		}
		if !fails(walk) {
			walk = slices.Insert(walk, at[0]+1, Step{Action: Heal})
		}
		want := Walk{number(0), {Action: Heal}, number(1), number(2)}
		if got := Shrink(walk, always, fails); !cmp.Equal(got, want) {
			t.Errorf("at %v: the shortest is %v", at, got)
		}
		if tries > 400 {
			t.Errorf("at %v: %d tries", at, tries)
		}
	}
}

func TestShrinkEndsEarly(t *testing.T) {
	t.Parallel()
	w := Generate(5, 64, letters, 6)
	left := 5
	tried := 0
	got := Shrink(w, func() bool { left--; return left >= 0 }, func(w Walk) bool { tried++; return w.Faults() > 3 })
	if tried > 5 || got.Faults() <= 3 || len(got) >= len(w) {
		t.Errorf("%d tries, and %d of %d steps are left", tried, len(got), len(w))
	}
}

func TestShrinkOfOneStep(t *testing.T) {
	t.Parallel()
	for n := 1; n < 12; n++ {
		var w Walk
		for i := range n {
			w = append(w, Step{Action: fmt.Sprint(i)})
		}
		for i := range n {
			got := Shrink(w, always, func(w Walk) bool { return slices.Contains(w, Step{Action: fmt.Sprint(i)}) })
			if len(got) != 1 || got[0].Action != fmt.Sprint(i) {
				t.Errorf("step %d of %d: the shortest is %v", i, n, got)
			}
		}
	}
}
