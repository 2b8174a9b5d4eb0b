package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/walk"
	"github.com/spanmesh/span/e2e/lab"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m, harness.HostOnly, map[string]lab.Subcommand{commandBeacon: runBeacon}))
}

const (
	// defaultFaults is how many faults a walk has in `make test-all`.
	defaultFaults = 24
	// shrinking bounds how long a failing walk is shrunk.
	shrinking = 20 * time.Minute
)

// number returns the number in a variable of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return n
}

// TestWalk makes the walk of a seed, in legs that are made at the same time.
func TestWalk(t *testing.T) {
	harness.Scenario(t, "random faults, several at once: after each few of them the mesh heals within a minute, and nothing ever leaves in clear")
	seed, faults := number(t, "CHAOS_SEED", 1), number(t, "CHAOS_STEPS", defaultFaults)
	all := walk.Generate(uint64(seed), faults, drawn(), machines)
	began := time.Now()
	t.Cleanup(func() {
		took := time.Since(began)
		fmt.Printf("seed %d: %d faults in %d groups took %v: %.1f faults a minute\n", seed, all.Faults(), len(all.Groups()),
			took.Round(time.Second), float64(all.Faults())/took.Minutes())
	})
	for i, leg := range all.Legs(max(1, number(t, "CHAOS_LEGS", 1))) {
		t.Run(fmt.Sprint("leg ", i+1), func(t *testing.T) {
			t.Parallel()
			pursue(t, leg)
		})
	}
}

// TestRecordedWalks makes the walks that have failed before.
func TestRecordedWalks(t *testing.T) {
	walks := recorded(t)
	for _, name := range slices.Sorted(maps.Keys(walks)) {
		t.Run(name, func(t *testing.T) {
			if a := attempt(t, walks[name]); a.found != nil {
				t.Error(a.report())
			}
		})
	}
}

// recorded returns the walks that have failed before, by name.
func recorded(t *testing.T) map[string]walk.Walk {
	t.Helper()
	files, err := filepath.Glob("testdata/walks/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	walks := map[string]walk.Walk{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w, err := walk.Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		walks[strings.TrimSuffix(filepath.Base(file), ".txt")] = w
	}
	return walks
}

// worlds counts the worlds of this program.
var worlds atomic.Int32

// outcome is what making a walk came to.
type outcome struct {
	// found is nil where all was well.
	found *finding
	// made are the steps up to the finding.
	made    walk.Walk
	journal string
	logs    string
}

// attempt makes a walk in a world of its own, which is gone afterwards.
func attempt(t *testing.T, steps walk.Walk) (o outcome) {
	t.Helper()
	completed := t.Run("world", func(t *testing.T) {
		w := newWorld(t, int(worlds.Add(1)%200)+20)
		o.found = catch(func() {
			w.start()
			w.make(steps)
		})
		o.journal, o.made = w.journal.String(), steps[:w.done]
		if o.found != nil {
			o.logs = w.logs()
		}
	})
	if !completed && o.found == nil {
		t.FailNow()
	}
	return o
}

// report describes a finding.
func (o outcome) report() string {
	return fmt.Sprintf("%s: %s\n\nwhat was done:\n%s\n%s", o.found.invariant, o.found.text, o.journal, o.logs)
}

// pursue makes a walk. If it fails, it is shrunk, and the test fails.
func pursue(t *testing.T, steps walk.Walk) {
	t.Helper()
	o := attempt(t, steps)
	if o.found == nil {
		return
	}
	fmt.Println(o.report()) // what a test says is shown when it ends
	t.Errorf("found after %d steps: %s: %s", len(o.made), o.found.invariant, o.found.text)
	if os.Getenv("CHAOS_SHRINK") == "0" {
		return
	}
	end := time.Now().Add(shrinking)
	shortest := shrink(o, func() bool { return time.Now().Before(end) }, func(part walk.Walk) outcome {
		again := attempt(t, part)
		fmt.Printf("shrinking: %d steps, found %t\n", len(part), again.found != nil)
		return again
	})
	if shortest == nil {
		t.Error("the same steps have not failed again")
		return
	}
	t.Errorf("the shortest that breaks %q, for testdata/walks:\n%s\nas a test:\n%s", o.found.invariant, shortest, asTest(o.found.invariant, shortest))
}

// shrink returns the shortest part of what was made that breaks the same invariant when it is made again,
// in two of three tries; nil if all of it does not. It makes no further part once more returns false. The
// cause is most likely in the last groups: all is well before each of them.
func shrink(o outcome, more func() bool, again func(walk.Walk) outcome) walk.Walk {
	known := map[string]bool{}
	fails := func(part walk.Walk) bool {
		text := part.String()
		if fails, ok := known[text]; ok {
			return fails
		}
		failed, passed := 0, 0
		for failed < 2 && passed < 2 {
			if a := again(part); a.found != nil && a.found.invariant == o.found.invariant {
				failed++
			} else {
				passed++
			}
		}
		known[text] = failed == 2
		return failed == 2
	}
	groups := o.made.Groups()
	for last := 1; last < 2*len(groups); last *= 2 {
		if !more() {
			return o.made
		}
		if part := slices.Concat(groups[max(0, len(groups)-last):]...); fails(part) {
			return walk.Shrink(part, more, fails)
		}
	}
	return nil
}

// asTest returns a walk as the code of a test, for a file of its own in this package.
func asTest(invariant string, steps walk.Walk) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package chaos\n\nimport (\n\t\"testing\"\n\n\t\"github.com/spanmesh/span/e2e/internal/walk\"\n)\n\n")
	fmt.Fprintf(&b, "// TestShortestWalk breaks %q.\nfunc TestShortestWalk(t *testing.T) {\n\tif o := attempt(t, walk.Walk{\n", invariant)
	for _, s := range steps {
		fmt.Fprintf(&b, "\t\t{Action: %q, Node: %d, Argument: %d, Pause: %d},\n", s.Action, s.Node, s.Argument, s.Pause)
	}
	b.WriteString("\t}); o.found != nil {\n\t\tt.Error(o.report())\n\t}\n}\n")
	return b.String()
}
