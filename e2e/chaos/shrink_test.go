package chaos

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/walk"
)

// plantedActions are never drawn. Both of them at one machine break it for good: no healing starts its agent again.
var plantedActions = map[string]action{
	"plant": {do: func(_ *world, n *node, _ int) { n.planted = true }},
	"spring": {do: func(w *world, n *node, _ int) {
		if n.planted && n.runs {
			w.fault(unix.Kill(n.Agent.PID(), unix.SIGKILL))
			<-n.Agent.Ended()
		}
	}},
}

// plantedWalk breaks a machine for good in its second group. culprits are the steps that do.
var plantedWalk = walk.Walk{
	{Action: "plant", Node: 2},
	{Action: walk.Heal},
	{Action: "delete-rules", Node: 2, Pause: 10 * time.Millisecond},
	{Action: "spring", Node: 2, Pause: 10 * time.Millisecond},
	{Action: walk.Heal},
	{Action: "reload", Node: 1},
	{Action: walk.Heal},
}
var culprits = walk.Walk{plantedWalk[0], plantedWalk[3]}

// TestShrinkingOfAFinding makes a walk that a machine does not survive. It is shrunk, and the test that is
// printed is built and run. That takes twenty worlds: `make test-chaos` makes them.
func TestShrinkingOfAFinding(t *testing.T) {
	t.Parallel()
	if os.Getenv("CHAOS_STEPS") == "" {
		t.Skip("make test-chaos runs it")
	}
	found := attempt(t, plantedWalk)
	if found.found == nil || found.found.invariant != "alive" {
		t.Fatalf("the finding is %+v", found.found)
	}
	if diff := cmp.Diff(plantedWalk[:4], found.made); diff != "" {
		t.Errorf("the steps that were made differ: %s", diff)
	}
	shortest := shrink(found, func() bool { return true }, func(part walk.Walk) outcome { return attempt(t, part) })
	if diff := cmp.Diff(culprits, shortest); diff != "" {
		t.Fatalf("the shortest differs: %s", diff)
	}
	printed := filepath.Join(t.TempDir(), "shortest_test.go")
	if err := os.WriteFile(printed, []byte(asTest(found.found.invariant, shortest)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := testWith(t, printed).CombinedOutput()
	for _, want := range []string{"--- FAIL: TestShortestWalk", "alive: the agent of node-3 has ended", culprits[1].String()} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("the printed test: %v, no %q in\n%s", err, want, out)
		}
	}
}

// testWith returns a run of TestShortestWalk of this package with a file more.
func testWith(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	directory, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(directory, filepath.Base(file)): file}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", path, "-count", "1", "-run", "^TestShortestWalk$", ".")
	cmd.Env = append(os.Environ(), "SPANCTL_BINARY="+harness.Binary(t))
	return cmd
}

// TestShrink shrinks findings without a world.
func TestShrink(t *testing.T) {
	t.Parallel()
	made := walk.Generate(3, 60, drawn(), machines)
	made = slices.Insert(made, 10, culprits[0])
	made = append(made, culprits[1])
	broken := func(part walk.Walk) bool {
		first := slices.Index(part, culprits[0])
		return first >= 0 && slices.Contains(part[first:], culprits[1])
	}
	as := func(invariant string) outcome { return outcome{found: &finding{invariant: invariant}, made: made} }
	always := func() bool { return true }
	tries := map[string]int{}
	got := shrink(as("reach"), always, func(part walk.Walk) outcome {
		tries[part.String()]++
		switch try := tries[part.String()]; {
		case !broken(part) && try == 1:
			return as("reach") // by chance
		case !broken(part):
			return as("peers") // another one
		case try == 1:
			return outcome{} // by chance
		}
		return as("reach")
	})
	if diff := cmp.Diff(culprits, got); diff != "" {
		t.Error(diff)
	}
	for part, n := range tries {
		if n != 3 {
			t.Errorf("%d tries of\n%s", n, part)
		}
	}
	if got := shrink(as("reach"), func() bool { return false }, nil); !cmp.Equal(made, got) {
		t.Errorf("without time, the shortest is %v", got)
	}
	if got := shrink(as("reach"), always, func(walk.Walk) outcome { return outcome{} }); got != nil {
		t.Errorf("of what does not fail again, the shortest is %v", got)
	}
}

// TestPrintedWalk reads what is printed as text.
func TestPrintedWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		w := walk.Generate(seed, 20, drawn(), machines)
		got, err := walk.Parse(w.String())
		if diff := cmp.Diff(w, got); err != nil || diff != "" {
			t.Errorf("seed %d: %v %s", seed, err, diff)
		}
	}
}

// TestRecordedWalksAreKnown reads the walks that have failed before: each of their actions is still known.
func TestRecordedWalksAreKnown(t *testing.T) {
	t.Parallel()
	walks := recorded(t)
	if len(walks) == 0 {
		t.Error("there are none")
	}
	for name, w := range walks {
		for _, s := range w {
			if _, ok := known(s.Action); !ok && s.Action != walk.Heal {
				t.Errorf("%s: the action %q is not known", name, s.Action)
			}
		}
	}
}
