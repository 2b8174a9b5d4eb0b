package agent

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// lives is how many random lives of a machine TestAnyLifeOfAMachine has, unless SPANCTL_LIVES says
// otherwise, as `make test` does. A failure prints the shortest one that it found, and the
// -rapid.seed to have it again.
const lives = "1000"

// TestAnyLifeOfAMachine applies, tries, confirms, rolls back, takes down and edits configs in any
// order, with an agent and without, while processes are killed before any effect, the machine
// starts again, clocks are set, the disk is full, the file cannot be replaced, and passes fail.
//
// After each step, what is in force was confirmed, or is on trial within its time; once a trial is
// over, what was before is back; and nothing that was confirmed is lost.
func TestAnyLifeOfAMachine(t *testing.T) {
	set := func(name, value string) {
		if f := flag.Lookup(name); f != nil && f.Value.String() == f.DefValue {
			before := f.Value.String()
			if err := f.Value.Set(value); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Value.Set(before) })
		}
	}
	set("rapid.checks", cmp.Or(os.Getenv("SPANCTL_LIVES"), lives))
	set("rapid.nofailfile", "true")
	root := shared(t)
	var count int
	rapid.Check(t, func(t *rapid.T) {
		count++
		w := newWorld(filepath.Join(root, strconv.Itoa(count)))
		defer func() { _ = os.RemoveAll(w.root) }()
		t.Repeat(w.actions())
	})
}

// shared returns a directory in memory, where there is one.
func shared(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "spanctl-model-") //nolint:usetesting // it is in memory
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return root
}

// broken is a config that is not valid; none is none at all.
const (
	broken = -1
	none   = 0
)

var (
	errKilled = errors.New("killed")
	errBroken = errors.New("broken")
)

// world is a machine and what happened to it.
type world struct {
	root string
	now  trial.Moment
	// boots is how often the machine has started.
	boots int

	// mesh is the config that the kernel has; none if there is no mesh.
	mesh int
	// left is the number of effects until the process is killed; -1 for never.
	left int
	// full, busy and failing are set while the disk is full, the file cannot be replaced, and
	// passes fail in part.
	full, busy, failing bool

	// undone is set while the mesh is as a pass left it that failed in part, if the agent that would
	// have repeated it was killed. The next start of an agent does, or the next change.
	undone bool

	// agent runs, or is nil. waiter waits for the end of a trial without one, or is nil.
	agent, waiter *process

	// texts is the number of configs so far: no two are the same.
	texts int
	// wanted has the configs that somebody wanted in force for good.
	wanted map[int]bool
	// lasting is the last that was confirmed; unknown if a fault makes unsure of it.
	lasting int
	// observed is set if a process was there to see to the trial last.
	observed bool
	// down is set while the mesh is down by a command.
	down bool
	// on is the trial; nil for none.
	on *attempt
}

// unknown stands for a config of which a fault makes unsure.
const unknown = -2

// attempt is a trial as its author knows it.
type attempt struct {
	// before is what is in force after the trial, lasting what is in the file; unknown after a
	// fault.
	before, lasting int
	// tried are the configs that were in the file meanwhile.
	tried map[int]bool
	// began and timeout are its time. boots are those of the machine when it began.
	began, timeout time.Duration
	boots          int
	// resumed is when a process first saw it after another start of the machine.
	resumed time.Duration
	// unsure is set once a fault may have ended it.
	unsure bool
}

// process is an agent or a command.
type process struct {
	*configManager
	// loop is the config that an agent keeps in force.
	loop int
	// waiting is the trial that it follows.
	waiting following
}

func newWorld(root string) *world {
	return &world{root: root, left: -1, wanted: map[int]bool{none: true}, boots: 1,
		now: trial.Moment{Boot: "1", Up: time.Minute, Wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
}

// effect is called before each effect on the disk and on the mesh.
func (w *world) effect() error {
	if w.left == 0 {
		return errKilled
	}
	if w.left > 0 {
		w.left--
	}
	return nil
}

func (w *world) beforeStep(step durable.Step, path string) error {
	if err := w.effect(); err != nil {
		return err
	}
	inState := strings.Contains(path, "/state/")
	switch {
	case w.full && step == durable.Create, w.full && step == durable.Fill:
		return unix.ENOSPC
	case w.busy && !inState && (step == durable.Replace || step == durable.Unlink):
		return unix.EBUSY
	}
	return nil
}

// process starts an agent or a command.
func (w *world) process(isAgent bool) *process {
	p := &process{loop: unknown}
	p.configManager = &configManager{
		file: configfile.At(filepath.Join(w.root, "machine.cue")), dir: statedir.At(filepath.Join(w.root, "state")),
		runner: &modelRunner{w: w, p: p, agent: isAgent}, eval: modelLoader{}, log: slog.New(slog.DiscardHandler),
		now: func() trial.Moment { return w.now },
	}
	p.file.Disk.Before, p.dir.Disk.Before = w.beforeStep, w.beforeStep
	p.trialBegan = func(record trial.Record) {
		if !isAgent {
			w.waiter = p
		}
		p.waiting = following{record: record}
	}
	return p
}

// modelLoader reads the configs of this test, which are their numbers.
type modelLoader struct{}

func (modelLoader) load(_ context.Context, _ string, data []byte) (*schema.Config, error) {
	var number int
	if _, err := fmt.Sscanf(string(data), "config %d\n", &number); err != nil || number == broken {
		return nil, errBroken
	}
	config := &schema.Config{}
	config.Machine.Network.KubeSpan.MTU = schema.MTU(number)
	return config, nil
}

func (l modelLoader) loadUnread(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	return l.load(ctx, name, data)
}

func textOf(number int) []byte { return fmt.Appendf(nil, "config %d\n", number) }

// modelRunner is the mesh.
type modelRunner struct {
	w     *world
	p     *process
	agent bool
}

func (r *modelRunner) set(number int, keep func() error) (*reconciler.Pass, error) {
	if err := keep(); err != nil {
		return nil, err
	}
	if err := r.w.effect(); err != nil {
		return nil, err
	}
	r.p.loop = number
	if r.w.failing {
		return &reconciler.Pass{}, &reconciler.ApplyError{Result: state.Result{Err: errRefused}}
	}
	r.w.mesh, r.w.undone = number, false
	return &reconciler.Pass{}, nil
}

func (r *modelRunner) SetConfig(_ context.Context, config *schema.Config, keep func() error) (*reconciler.Pass, error) {
	return r.set(int(config.Machine.Network.KubeSpan.MTU), keep)
}

func (r *modelRunner) Down(context.Context) (*reconciler.Pass, error) {
	pass, err := r.set(none, func() error { return nil })
	if err != nil {
		r.p.loop = unknown // an agent does not repeat it
	}
	return pass, err
}

func (r *modelRunner) Running() error {
	if r.agent {
		return nil
	}
	return errNoAgent
}

func (*modelRunner) Diff(context.Context, *schema.Config) (*reconciler.Pass, error) {
	return nil, errors.ErrUnsupported
}

func (*modelRunner) RotateKey(context.Context, reconciler.Rotation) (*reconciler.Pass, error) {
	return nil, errors.ErrUnsupported
}

func (*modelRunner) ResetIdentity(context.Context, func() error) (*reconciler.Pass, error) {
	return nil, errors.ErrUnsupported
}

func (*modelRunner) Resources(context.Context, *resource.Type) (*resource.Store, error) {
	return nil, errors.ErrUnsupported
}

// stored returns the config in the file.
func (w *world) stored() int {
	data, err := os.ReadFile(filepath.Join(w.root, "machine.cue"))
	if errors.Is(err, fs.ErrNotExist) {
		return none
	}
	number := broken
	_, _ = fmt.Sscanf(string(data), "config %d\n", &number)
	return number
}
