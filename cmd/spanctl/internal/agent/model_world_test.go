package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"pgregory.net/rapid"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
)

// look lets those who follow a trial look at it, as they do four times a second.
func (w *world) look(t *rapid.T) {
	p := w.agent
	if p == nil {
		p = w.waiter
	}
	w.observed = false
	if p == nil || p.waiting.record == (trial.Record{}) {
		w.observed = p != nil
		return
	}
	var over bool
	wasOn := w.isOn()
	record, recorded := w.record()
	follows := recorded && p.waiting.record.Same(record)
	c := w.doIn(t, p, func(ctx context.Context, p *process) error {
		over, _ = p.look(ctx, &p.waiting)
		return p.waiting.end.err
	})
	w.observed = !c.killed && (follows || !recorded)
	if over {
		p.waiting = following{}
		if p == w.waiter {
			w.waiter = nil
		}
	}
	switch {
	case wasOn && follows:
		if _, recorded := w.record(); !c.killed && (over || !recorded) {
			t.Fatalf("a trial ended before its time: %v", c.err)
		}
	case w.on != nil && follows && (over || w.on.boots == w.boots && w.now.Up-w.on.began >= w.on.timeout):
		w.ended(t, c)
	default:
		w.on = w.unlessGone()
	}
}

func (w *world) wait(t *rapid.T) {
	passed := time.Duration(rapid.IntRange(100, 8000).Draw(t, "ms")) * time.Millisecond
	w.now.Up += passed
	w.now.Wall = w.now.Wall.Add(passed)
	w.look(t)
}

func (w *world) setClock(t *rapid.T) {
	w.now.Wall = w.now.Wall.Add(time.Duration(rapid.IntRange(-3600, 3600).Draw(t, "seconds")) * time.Second)
	w.look(t)
}

// kill ends the process that runs, as `kill -9` does.
func (w *world) kill(t *rapid.T) {
	if w.agent != nil {
		w.killAgent()
	} else {
		w.waiter = nil
	}
	w.look(t)
}

// run starts the agent.
func (w *world) run(t *rapid.T) {
	if w.agent != nil {
		t.Skip("it runs")
	}
	w.agent = w.process(true)
	wasOn, wasOff, stored, lasting := w.isOn(), w.isOff(), w.stored(), w.lasting
	if w.on == nil {
		w.down = false
	}
	c := w.doIn(t, w.agent, func(ctx context.Context, p *process) error {
		p.start(ctx)
		if record, on := w.record(); on {
			p.waiting = following{record: record}
		}
		return nil
	})
	w.observed = !c.killed
	switch {
	case !c.clean():
		w.on = w.unlessGone()
	case wasOn && stored > 0 && w.mesh != stored:
		t.Fatalf("a start during a trial puts %d in force, want %d", w.mesh, stored)
	case wasOn:
	case wasOff && stored > 0:
		w.settled(t, c, "start", stored)
	case wasOff && lasting > 0 && w.mesh != lasting:
		t.Fatalf("a start without a valid file puts %d in force, want %d", w.mesh, lasting)
	case !wasOff:
		w.on, w.lasting = w.unlessGone(), unknown
	}
	if c.clean() {
		w.down = false
	}
}

// reboot starts the machine again, with a clock that may be right or not.
func (w *world) reboot(t *rapid.T) {
	w.boots++
	w.agent, w.waiter, w.mesh, w.observed = nil, nil, none, false
	w.now.Boot, w.now.Up = fmt.Sprint(w.boots), time.Duration(rapid.IntRange(1, 20).Draw(t, "up"))*time.Second
	w.now.Wall = w.now.Wall.Add(time.Duration(rapid.IntRange(-3600, 60).Draw(t, "seconds")) * time.Second)
	if w.on != nil {
		w.on.unsure = true
		if w.on.resumed != 0 {
			w.on.timeout = 0 // it is over
		}
	}
}

// fault begins or ends one.
func (w *world) fault(t *rapid.T) {
	switch rapid.SampledFrom([]string{"full", "busy", "failing", "none", "none", "none"}).Draw(t, "what") {
	case "full":
		w.full = true
	case "busy":
		w.busy = true
	case "failing":
		w.failing = true
	default:
		w.full, w.busy, w.failing = false, false, false
		if w.agent != nil && w.agent.loop != unknown {
			w.mesh, w.undone = w.agent.loop, false // it repeats the pass
		}
	}
	w.look(t)
}

// check holds after each step.
func (w *world) check(t *rapid.T) {
	if w.observed && !w.failing && !w.undone && !w.wanted[w.mesh] {
		_, recorded := w.record()
		switch {
		case w.on == nil || !w.on.tried[w.mesh] || !recorded:
			t.Fatalf("in force is %d, which nobody confirmed and which is not on trial", w.mesh)
		case w.on.boots == w.boots && w.now.Up-w.on.began >= w.on.timeout:
			t.Fatalf("%d is in force %v after its trial", w.mesh, w.now.Up-w.on.began-w.on.timeout)
		case w.on.boots != w.boots && w.on.resumed != 0 && w.now.Up-w.on.resumed >= w.on.timeout:
			t.Fatalf("%d is in force %v after its trial, which went on after a start of the machine", w.mesh, w.now.Up-w.on.resumed-w.on.timeout)
		}
	}
	if w.lasting == unknown {
		return
	}
	all, err := statedir.At(filepath.Join(w.root, "state")).History()
	if err != nil {
		t.Fatal(err)
	}
	newest := none
	for _, r := range all {
		if r.Confirmed {
			newest = numberIn(r.Path)
			break
		}
	}
	if newest != w.lasting {
		t.Fatalf("the newest that is confirmed is %d, want %d", newest, w.lasting)
	}
}
