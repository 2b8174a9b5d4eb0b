package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spanmesh/span/e2e/internal/process"
	"github.com/spanmesh/span/e2e/internal/simulated"
)

// fleet is a server and the machines of a cluster. It is for one goroutine.
type fleet struct {
	o   options
	dir string
	// address is the server's.
	address string
	server  *process.Process
	// before is the processor time of servers that have ended.
	before time.Duration

	lights, wholes *group
	// present are the machines of each kind, in the order in which they came.
	present map[simulated.Kind][]int
	// next is the number of the next new machine.
	next int
	// settled is next at the beginning of the phase: later ones may not have joined yet.
	settled int
	// missed is set once machines were cut off while others left.
	missed bool
	// random chooses machines, the same in each run.
	random *rand.Rand

	began   time.Time
	samples []sample
	// phase is the present one.
	phase phaseKind
	// pending are changes that have begun.
	pending []*rpc.Call
}

// assemble starts a server and groups without machines.
func assemble(ctx context.Context, o options) (f *fleet, err error) {
	f = &fleet{o: o, present: map[simulated.Kind][]int{}, random: rand.New(rand.NewPCG(1, 1)), began: time.Now()}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.dir, err = os.MkdirTemp("", "fleet"); err != nil {
		return f, err
	}
	if f.address, err = process.FreeAddress(); err != nil {
		return f, err
	}
	if err = f.serve(ctx); err != nil {
		return f, err
	}
	if f.lights, err = startGroup(simulated.Light, "http://"+f.address, o.profiles); err != nil {
		return f, err
	}
	f.wholes, err = startGroup(simulated.Whole, "http://"+f.address, o.profiles)
	return f, err
}

// serve starts the server, with the limits that it has by default.
func (f *fleet) serve(ctx context.Context) (err error) {
	store := f.o.store
	if store == "bolt" {
		store += ":" + filepath.Join(f.dir, "discovery.db")
	}
	f.server, err = process.Launch(ctx, "serving discovery", f.o.binary, "discovery", "serve", "--listen", f.address, "--store", store)
	return err
}

// kill ends the server as a loss of power does.
func (f *fleet) kill() error {
	used, err := f.server.CPU()
	f.before += used
	f.server.Kill()
	f.server = nil
	return err
}

// close ends all processes.
func (f *fleet) close() {
	for _, c := range []*group{f.lights, f.wholes} {
		if c != nil {
			c.close()
		}
	}
	if f.server != nil {
		f.server.Stop()
	}
	_ = os.RemoveAll(f.dir)
}

// change begins a change of the machines.
func (f *fleet) change(of map[simulated.Kind]simulated.Change, joined, left []int) {
	for kind, c := range map[simulated.Kind]*group{simulated.Light: f.lights, simulated.Whole: f.wholes} {
		change := of[kind]
		change.Joined, change.Left = joined, left
		f.pending = append(f.pending, c.do(change))
	}
}

// join begins all machines at once.
func (f *fleet) join() {
	numbers := map[simulated.Kind]simulated.Change{}
	var all []int
	for n := range f.o.machines {
		kind := simulated.Light
		if n < f.o.whole {
			kind = simulated.Whole
		}
		f.present[kind] = append(f.present[kind], n)
		change := numbers[kind]
		change.Start = append(change.Start, n)
		numbers[kind] = change
		all = append(all, n)
	}
	f.next = f.o.machines
	f.change(numbers, all, nil)
}

// replace lets machines leave, and others of the same kinds join. They are chosen from those that
// keep does not have.
func (f *fleet) replace(count int, keep map[int]bool) {
	changes := map[simulated.Kind]simulated.Change{}
	var joined, left []int
	for range count {
		kind, at := f.choose(keep)
		leaves := f.present[kind][at]
		f.present[kind] = append(slices.Delete(f.present[kind], at, at+1), f.next)
		change := changes[kind]
		change.Leave, change.Stop, change.Start = true, append(change.Stop, leaves), append(change.Start, f.next)
		changes[kind] = change
		joined, left = append(joined, f.next), append(left, leaves)
		f.next++
	}
	f.change(changes, joined, left)
}

// choose returns a random machine that has been there since before the phase.
func (f *fleet) choose(keep map[int]bool) (kind simulated.Kind, at int) {
	for {
		kind, at = simulated.Whole, f.random.IntN(f.o.machines)
		if whole := len(f.present[simulated.Whole]); at >= whole {
			kind, at = simulated.Light, at-whole
		}
		if n := f.present[kind][at]; n < f.settled && !keep[n] {
			return kind, at
		}
	}
}

// half returns every other machine of each kind.
func (f *fleet) half() map[simulated.Kind][]int {
	halves := map[simulated.Kind][]int{}
	for kind, numbers := range f.present {
		for i, n := range numbers {
			if i%2 == 0 {
				halves[kind] = append(halves[kind], n)
			}
		}
	}
	return halves
}

// finished takes the changes that have ended from the pending ones, and returns their errors.
func (f *fleet) finished() error {
	var failures []error
	f.pending = slices.DeleteFunc(f.pending, func(c *rpc.Call) bool {
		select {
		case <-c.Done:
			failures = append(failures, c.Error)
			return true
		default:
			return false
		}
	})
	return errors.Join(failures...)
}
