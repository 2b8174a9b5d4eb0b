package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
)

// actions are what can happen to a machine. The one without a name is checked after each.
func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":         w.check,
		"apply":    w.apply,
		"stage":    w.stage,
		"try":      w.try,
		"confirm":  w.confirm,
		"rollback": w.rollback,
		"takeDown": w.takeDown,
		"edit":     w.edit,
		"reload":   w.reload,
		"wait":     w.wait,
		"setClock": w.setClock,
		"kill":     w.kill,
		"run":      w.run,
		"reboot":   w.reboot,
		"fault":    w.fault,
	}
}

// command is what became of a command.
type command struct {
	err error
	// killed is set if its process was killed meanwhile, faulty if anything else went wrong.
	killed, faulty bool
}

func (c command) clean() bool { return !c.killed && !c.faulty }

// do runs a command, in the agent if one runs. It may be killed before any of its effects.
func (w *world) do(t *rapid.T, f func(ctx context.Context, p *process) error) (c command) {
	p := w.agent
	if p == nil {
		p = w.process(false)
	}
	return w.doIn(t, p, f)
}

func (w *world) doIn(t *rapid.T, p *process, f func(ctx context.Context, p *process) error) (c command) {
	if rapid.IntRange(0, 7).Draw(t, "killed") == 7 {
		w.left = rapid.IntRange(0, 14).Draw(t, "after")
	}
	c.err = f(context.Background(), p)
	c.killed, c.faulty = w.left == 0, w.full || w.busy || w.failing
	w.left = -1
	if w.agent == p && !c.killed {
		w.agent.changed(context.Background(), isWhole) // the watch sees what the command wrote
	}
	if c.killed {
		if w.agent == p {
			w.killAgent()
		}
		if w.waiter == p {
			w.waiter = nil
		}
	}
	if !c.clean() {
		w.lasting = unknown
		if w.on != nil {
			w.on.unsure = true
		}
	}
	if record, _ := w.record(); w.on != nil && record.Restarted && w.on.resumed == 0 {
		w.on.resumed = w.now.Up
	}
	w.observed = p == w.agent || c.clean()
	return c
}

func (w *world) killAgent() {
	_, recorded := w.record()
	w.undone = !recorded && w.agent.loop != unknown && w.agent.loop != w.mesh
	w.agent = nil
}

// record returns the record on the disk, and whether there is one.
func (w *world) record() (trial.Record, bool) {
	r, on, err := statedir.At(filepath.Join(w.root, "state")).Trial()
	if err != nil {
		panic(err)
	}
	return r, on
}

// isOn reports whether a trial goes on for sure, isOff whether there is none for sure.
func (w *world) isOn() bool {
	return w.on != nil && !w.on.unsure && w.on.boots == w.boots && w.now.Up-w.on.began < w.on.timeout
}

func (w *world) isOff() bool { return w.on == nil }

// ended checks what is there after the end of a trial.
func (w *world) ended(t *rapid.T, c command) {
	on := w.on
	if _, recorded := w.record(); !recorded {
		w.on = nil
	}
	if on == nil || !c.clean() {
		return
	}
	if w.on != nil {
		t.Fatalf("a trial has ended, and its record is there; %v", c.err)
	}
	if on.unsure {
		w.lasting, w.down = unknown, false
		return
	}
	if on.before != unknown && w.mesh != on.before {
		t.Fatalf("after the trial %d is in force, before it was %d", w.mesh, on.before)
	}
	if on.lasting != unknown && w.stored() != on.lasting {
		t.Fatalf("after the trial %d is stored, %d was in force before it", w.stored(), on.lasting)
	}
	w.down = w.mesh == none && on.lasting != none
	if on.lasting != unknown {
		w.lasting = on.lasting
	}
}

// expire ends a trial whose time is up, as each command does first.
func (w *world) expire(t *rapid.T, c command) {
	if on := w.on; on != nil && !w.isOn() {
		if _, recorded := w.record(); !recorded {
			w.on = nil
			w.lasting, w.down = unknown, false
		}
		if w.on != nil && !on.unsure && c.clean() && on.boots == w.boots {
			t.Fatalf("a trial goes on after its time")
		}
	}
}

func (w *world) next() int { w.texts++; return w.texts }

// settled is set by commands that leave a config in force for good.
func (w *world) settled(t *rapid.T, c command, what string, number int) {
	if !c.clean() {
		return
	}
	if c.err != nil || w.mesh != number || w.stored() != number {
		t.Fatalf("%s: %v; %d is in force, %d is stored, want %d", what, c.err, w.mesh, w.stored(), number)
	}
	if _, recorded := w.record(); recorded {
		t.Fatalf("%s: there is a trial", what)
	}
	w.lasting, w.down, w.on = number, false, nil
}

func (w *world) apply(t *rapid.T) {
	number := w.next()
	w.wanted[number] = true
	wasOn, mesh, stored, lasting := w.isOn(), w.mesh, w.stored(), w.lasting
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.apply(ctx, change{name: "new.cue", data: textOf(number)})
		return err
	})
	if wasOn {
		if !errors.Is(c.err, trial.ErrOnTrial) && !c.killed {
			t.Fatalf("applied during a trial: %v", c.err)
		}
		if w.mesh != mesh || w.stored() != stored {
			t.Fatalf("%d is in force, %d is stored, although nothing is applied during a trial", w.mesh, w.stored())
		}
		if !c.killed {
			w.lasting = lasting
		}
		return
	}
	w.expire(t, c)
	if errors.Is(c.err, trial.ErrOnTrial) {
		return // of a trial that nobody is sure of
	}
	w.settled(t, c, "apply", number)
}

func (w *world) stage(t *rapid.T) {
	number := w.next()
	w.wanted[number] = true
	wasOff, mesh := w.isOff(), w.mesh
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.stage(ctx, change{name: "new.cue", data: textOf(number)})
		return err
	})
	w.expire(t, c)
	if wasOff && c.clean() && (c.err != nil || w.mesh != mesh || w.stored() != number) {
		t.Fatalf("stage: %v; %d is in force, %d is stored", c.err, w.mesh, w.stored())
	}
}

func (w *world) try(t *rapid.T) {
	number := w.next()
	timeout := time.Duration(rapid.IntRange(1, 10).Draw(t, "timeout")) * time.Second
	on := &attempt{before: unknown, lasting: w.lasting, tried: map[int]bool{number: true}, began: w.now.Up, timeout: timeout, boots: w.boots}
	switch {
	case w.lasting == unknown:
	case w.down:
		on.before = none
	case w.mesh == w.lasting:
		on.before = w.lasting
	}
	wasOff, wasOn, mesh, stored := w.isOff(), w.isOn(), w.mesh, w.stored()
	earlier, _ := w.record()
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.try(ctx, change{name: "new.cue", data: textOf(number)}, timeout)
		return err
	})
	now, recorded := w.record()
	began := recorded && !now.Same(earlier) && !now.Restarted
	if began {
		on.unsure = !c.clean()
		w.on = on
	} else {
		w.expire(t, c)
	}
	switch {
	case wasOn && began:
		t.Fatal("a trial began during another")
	case wasOff && c.clean() && (stored == on.lasting || stored == none && on.lasting != unknown) && (c.err != nil || !began || w.mesh != number):
		t.Fatalf("try: %v; %d is in force", c.err, w.mesh)
	case wasOff && !c.killed && (w.busy || w.full) && (c.err == nil || recorded || w.mesh != mesh && w.wanted[mesh]):
		t.Fatalf("try of a file that cannot be replaced: %v; on trial: %v; %d is in force", c.err, recorded, w.mesh)
	}
}

func (w *world) confirm(t *rapid.T) {
	on, wasOn, wasOff, mesh := w.on, w.isOn(), w.isOff(), w.mesh
	c := w.do(t, func(ctx context.Context, p *process) error { return p.confirm(ctx) })
	if on != nil {
		w.wanted[w.stored()] = true
		if !c.clean() || c.err == nil {
			for number := range on.tried {
				w.wanted[number] = true
			}
		}
	}
	_, recorded := w.record()
	switch {
	case wasOff && c.clean() && !errors.Is(c.err, trial.ErrNone):
		t.Fatalf("confirmed without a trial: %v", c.err)
	case wasOn && c.clean() && !w.down && (c.err != nil || recorded || w.mesh != mesh):
		t.Fatalf("confirm: %v; on trial: %v; %d is in force", c.err, recorded, w.mesh)
	case wasOn && c.clean():
		w.lasting, w.on, w.down = mesh, nil, false
		return
	}
	w.expire(t, c)
}

func (w *world) rollback(t *rapid.T) {
	all, err := statedir.At(filepath.Join(w.root, "state")).History()
	if err != nil {
		t.Fatal(err)
	}
	to, number := 0, unknown
	if i := rapid.IntRange(-3, len(all)-1).Draw(t, "to"); i >= 0 {
		to = all[i].Number
		number = numberIn(all[i].Path)
		w.wanted[number] = true
	}
	wasOn, wasOff := w.isOn(), w.isOff()
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.rollback(ctx, to)
		return err
	})
	switch {
	case to != 0:
		w.expire(t, c)
		w.settled(t, c, "rollback", number)
	case wasOn:
		w.ended(t, c)
	default:
		w.expire(t, c)
		if wasOff && c.clean() && c.err == nil {
			w.settled(t, c, "rollback to the one before", w.mesh)
		}
		w.on = w.unlessGone()
		if !wasOff {
			w.lasting = unknown
		}
	}
}

// unlessGone returns the trial, if its record is there.
func (w *world) unlessGone() *attempt {
	if _, recorded := w.record(); !recorded {
		return nil
	}
	return w.on
}

func numberIn(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	number, err := strconv.Atoi(string(data[len("config ") : len(data)-1]))
	if err != nil {
		panic(err)
	}
	return number
}

func (w *world) takeDown(t *rapid.T) {
	wasOn, lasting := w.isOn(), w.lasting
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.takeDown(ctx)
		return err
	})
	w.down = false
	if c.clean() {
		if c.err != nil || w.mesh != none {
			t.Fatalf("down: %v; %d is in force", c.err, w.mesh)
		}
		if wasOn {
			lasting = w.on.lasting
			w.on.before = none
			w.ended(t, c)
		}
		w.on, w.lasting, w.down = w.unlessGone(), lasting, true
		if w.on != nil {
			t.Fatal("down: a trial goes on")
		}
		return
	}
	w.on = w.unlessGone()
	if w.failing && w.on == nil {
		w.wanted[w.mesh] = true // who took it down in part was told so, and to repeat it
	}
}

func (w *world) edit(t *rapid.T) {
	number := rapid.SampledFrom([]int{broken, none, 1, 1, 1}).Draw(t, "text")
	if number == 1 {
		number = w.next()
	}
	path := filepath.Join(w.root, "machine.cue")
	err := os.Remove(path)
	if number != none {
		err = errors.Join(os.MkdirAll(w.root, 0o700), os.WriteFile(path, textOf(number), 0o600))
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if w.on != nil {
		w.on.tried[number] = true
	}
	if w.on == nil || w.on.unsure { // it may have been confirmed
		w.wanted[number] = true
	}
	if w.agent == nil {
		w.observed = false
		return
	}
	before := w.mesh
	c := w.do(t, func(ctx context.Context, p *process) error { p.changed(ctx, isWhole); return nil })
	switch {
	case !c.clean():
	case number <= 0 && w.mesh != before:
		t.Fatalf("a file without a config puts %d in force", w.mesh)
	case number > 0 && (w.isOff() || w.isOn()) && w.mesh != number:
		t.Fatalf("an edit puts %d in force, want %d", w.mesh, number)
	case number > 0:
		w.down = false
		if w.isOff() {
			w.lasting = number
		} else if !w.isOn() {
			w.lasting = unknown
		}
	}
}

func (w *world) reload(t *rapid.T) {
	stored, wasOn, wasOff, before := w.stored(), w.isOn(), w.isOff(), w.mesh
	c := w.do(t, func(ctx context.Context, p *process) error {
		_, err := p.reload(ctx)
		return err
	})
	w.expire(t, c)
	switch {
	case !c.clean():
	case wasOff && stored > 0:
		w.settled(t, c, "reload", stored)
	case wasOn && stored > 0 && w.mesh != stored:
		t.Fatalf("reload puts %d in force, want %d", w.mesh, stored)
	case (wasOff || wasOn) && stored <= 0 && (c.err == nil || w.mesh != before):
		t.Fatalf("reload of a file without a config: %v; %d is in force", c.err, w.mesh)
	case stored > 0:
		w.down = false
	}
	if !wasOn && !wasOff {
		w.lasting = unknown
	}
}
