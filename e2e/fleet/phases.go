package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spanmesh/span/e2e/internal/simulated"
)

const (
	// tick is the time between two samples.
	tick = 200 * time.Millisecond
	// maxPending is how many changes may be under way before further ones wait.
	maxPending = 40
	// lostDeadline bounds the time until machines notice that the server is gone, and the time
	// that changes under way may take.
	lostDeadline = 30 * time.Second
)

// run runs a phase. An error means that no later phase makes sense.
func (f *fleet) run(ctx context.Context, p phase) (done phaseRecord, err error) {
	f.phase, f.settled = p.name, f.next
	first, err := f.sample()
	if err != nil {
		return done, err
	}
	done = phaseRecord{Name: p.name, From: len(f.samples) - 1}
	since := time.Now()
	switch p.name {
	case storm:
		f.join()
	case rest:
		return done, f.rest(ctx, p, &done, first)
	case churn:
		since, err = f.paced(ctx, p, &done, func(n int) { f.replace(n, nil) })
	case restart:
		since, err = f.restart(ctx)
	case cut:
		since, err = f.cutHalf(ctx, p, &done)
	case rolling:
		since, err = f.roll(ctx, p, &done)
	}
	if err == nil {
		err = f.awaitKnown(ctx, p, since, &done)
	}
	done.end(first, f.samples)
	return done, err
}

// rest does nothing, and measures the heap of whole machines at the end.
func (f *fleet) rest(ctx context.Context, p phase, done *phaseRecord, first sample) error {
	began := time.Now()
	_, err := f.until(ctx, p.lasts, func(sample) bool { return time.Since(began) >= p.lasts })
	done.end(first, f.samples)
	if err != nil {
		return err
	}
	done.Known = done.Lasted // they knew before
	done.Heap, err = f.wholes.heap()
	return err
}

// until takes samples until done reports true or the deadline has passed, and reports which. The
// state of the machines in a sample may be older than the call, unless that is fresh.
func (f *fleet) until(ctx context.Context, deadline time.Duration, done func(sample) bool) (in bool, err error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	f.lights.fresh, f.wholes.fresh = f.lights.asks+1, f.wholes.asks+1
	end := time.Now().Add(deadline)
	for {
		s, err := f.sample()
		if err != nil {
			return false, err
		}
		if err := f.finished(); err != nil {
			return false, err
		}
		if done(s) {
			return true, nil
		}
		if time.Now().After(end) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ticker.C:
		}
	}
}

// awaitKnown waits until all machines know all, and notes how long after since that was. They
// must have forgotten those that are gone, but where they may have missed that: they then keep
// them until their last publication expires.
func (f *fleet) awaitKnown(ctx context.Context, p phase, since time.Time, done *phaseRecord) error {
	in, err := f.until(ctx, p.deadline, func(s sample) bool {
		switch {
		case !s.fresh:
			return false
		case s.KnowingWhole < f.o.whole:
			done.KnownWhole = 0
		case done.KnownWhole == 0:
			done.KnownWhole = time.Since(since).Seconds()
		}
		return len(f.pending) == 0 && s.Knowing == f.o.machines && (f.missed || s.Outdated == 0)
	})
	if err != nil {
		return err
	}
	done.Known = time.Since(since).Seconds()
	if !in {
		done.Faults = append(done.Faults, f.unknowing(p.deadline))
	}
	return nil
}

// unknowing says which machines do not know what they should.
func (f *fleet) unknowing(deadline time.Duration) string {
	s := f.samples[len(f.samples)-1]
	return fmt.Sprintf("after %v, %d of %d machines do not know all, %d know some that are gone", deadline, f.o.machines-s.Knowing, f.o.machines, s.Outdated)
}

// paced does the steps of a phase over its time. It returns when the last was done. Where steps
// take too long, it ends early and notes that.
func (f *fleet) paced(ctx context.Context, p phase, done *phaseRecord, step func(count int)) (last time.Time, err error) {
	began, made := time.Now(), 0
	_, err = f.until(ctx, 2*p.lasts+lostDeadline, func(sample) bool {
		since := time.Since(began)
		if due := p.due(since); due > made && len(f.pending) < maxPending {
			step(due - made)
			made = due
		}
		return made == p.steps && since >= p.lasts || p.tooLate(since)
	})
	if err != nil {
		return last, err
	}
	if made < p.steps {
		done.Faults = append(done.Faults, fmt.Sprintf("the pace was not kept: %d of %d steps in %v", made, p.steps, time.Since(began).Round(time.Second)))
	}
	last = time.Now()
	in, err := f.until(ctx, lostDeadline, func(sample) bool { return len(f.pending) == 0 })
	if err == nil && !in {
		done.Faults = append(done.Faults, "changes of machines did not end within "+lostDeadline.String())
	}
	return last, err
}

// restart kills the server, and starts it again once all machines have noticed. It returns when.
func (f *fleet) restart(ctx context.Context) (back time.Time, err error) {
	if err := f.kill(); err != nil {
		return back, err
	}
	in, err := f.until(ctx, lostDeadline, func(s sample) bool { return s.fresh && s.Following == 0 })
	if err == nil && !in {
		err = fmt.Errorf("machines have not noticed within %v that the server is gone", lostDeadline)
	}
	if err != nil {
		return back, err
	}
	back = time.Now()
	return back, f.serve(ctx)
}

// cutHalf cuts off half of the machines. Others are replaced meanwhile, so that there is
// something to miss. It returns when the cut has ended.
func (f *fleet) cutHalf(ctx context.Context, p phase, done *phaseRecord) (back time.Time, err error) {
	halves, changes, kept := f.half(), map[simulated.Kind]simulated.Change{}, map[int]bool{}
	for kind, numbers := range halves {
		changes[kind] = simulated.Change{Cut: numbers}
		for _, n := range numbers {
			kept[n] = true
		}
	}
	f.missed = true
	f.change(changes, nil, nil)
	if _, err := f.paced(ctx, p, done, func(n int) { f.replace(n, kept) }); err != nil {
		return back, err
	}
	for kind, numbers := range halves {
		changes[kind] = simulated.Change{Mend: numbers}
	}
	back = time.Now()
	f.change(changes, nil, nil)
	return back, nil
}

// roll restarts the agents one after the other, without leaving the mesh.
func (f *fleet) roll(ctx context.Context, p phase, done *phaseRecord) (last time.Time, err error) {
	type one struct {
		kind   simulated.Kind
		number int
	}
	var order []one
	for _, kind := range []simulated.Kind{simulated.Whole, simulated.Light} {
		for _, n := range f.present[kind] {
			order = append(order, one{kind, n})
		}
	}
	f.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return f.paced(ctx, p, done, func(count int) {
		changes := map[simulated.Kind]simulated.Change{}
		for _, next := range order[:count] {
			change := changes[next.kind]
			change.Restart = append(change.Restart, next.number)
			changes[next.kind] = change
		}
		order = order[count:]
		f.change(changes, nil, nil)
	})
}
