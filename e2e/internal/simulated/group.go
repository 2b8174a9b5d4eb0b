package simulated

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// machine is one of a group.
type machine interface {
	// start begins the agent.
	start() error
	// stop ends it. With leave, the machine leaves the mesh first.
	stop(ctx context.Context, leave bool) error
	// cut cuts the machine off from the server, or ends that.
	cut(shut bool)
	// view compares what the machine knows with all machines.
	view(all *Set) view
}

// view is what a machine sees of a cluster.
type view struct {
	// following is set while it follows the server.
	following bool
	// lacks is set if it does not know all machines, and extra if it knows some that are gone.
	lacks, extra bool
}

// Kind is a kind of machines.
type Kind string

// The kinds.
const (
	Whole Kind = "whole"
	Light Kind = "light"
)

// stopTimeout bounds the end of a machine.
const stopTimeout = 30 * time.Second

// Group runs machines of one kind. Its exported methods are for net/rpc, from any goroutine.
type Group struct {
	kind    Kind
	cluster *Cluster
	keys    keys
	traffic Traffic

	mu       sync.Mutex
	all      Set
	machines map[int]machine
}

// NewGroup returns a group without machines.
func NewGroup(kind Kind, cluster *Cluster) *Group {
	c := &Group{kind: kind, cluster: cluster, machines: map[int]machine{}}
	c.keys.numbers = map[mesh.Key]int{}
	return c
}

// Change is a change of a group's machines.
type Change struct {
	// Stop are the machines to end, and Leave is set if they leave the mesh.
	Stop  []int
	Leave bool
	// Start are new machines to begin, and Restart are others, to end and begin again.
	Start, Restart []int
	// Cut are machines to cut off from the server, and Mend those to connect again.
	Cut, Mend []int
	// Joined and Left are machines of any group: what there is to know.
	Joined, Left []int
}

// Do makes a change. It returns when that is done; what the machines then do takes longer.
func (c *Group) Do(change Change, _ *struct{}) error {
	c.expect(change.Joined, change.Left)
	for _, n := range change.Cut {
		c.machine(n).cut(true)
	}
	for _, n := range change.Mend {
		c.machine(n).cut(false)
	}
	return errors.Join(
		each(change.Stop, func(n int) error { return c.stop(n, change.Leave) }),
		each(change.Restart, c.restart),
		each(change.Start, c.start))
}

// each calls do for all numbers at once.
func each(numbers []int, do func(int) error) error {
	failures := make([]error, len(numbers))
	var starting sync.WaitGroup
	for i, n := range numbers {
		starting.Go(func() { failures[i] = do(n) })
	}
	starting.Wait()
	return errors.Join(failures...)
}

// expect notes which machines there are to know.
func (c *Group) expect(joined, left []int) {
	if c.kind == Whole {
		for _, n := range joined {
			c.keys.makeUpTo(n + 1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range joined {
		c.all.Add(n)
	}
	for _, n := range left {
		c.all.Remove(n)
	}
}

// machine returns a machine of the group; one that does nothing if there is none with that number.
func (c *Group) machine(number int) machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, has := c.machines[number]; has {
		return m
	}
	return missing(number)
}

func (c *Group) start(number int) (err error) {
	var m machine
	if c.kind == Whole {
		m = newWhole(c.cluster, number, &c.traffic, &c.keys)
	} else if m, err = newLight(c.cluster, number, &c.traffic); err != nil {
		return err
	}
	c.mu.Lock()
	c.machines[number] = m
	c.mu.Unlock()
	return m.start()
}

func (c *Group) stop(number int, leave bool) error {
	m := c.machine(number)
	c.mu.Lock()
	delete(c.machines, number)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return m.stop(ctx, leave)
}

func (c *Group) restart(number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	m := c.machine(number)
	if err := m.stop(ctx, false); err != nil {
		return err
	}
	return m.start()
}

// missing is a machine that is not there.
type missing int

func (m missing) start() error                     { return fmt.Errorf("machine %d: %w", int(m), errUnknown) }
func (m missing) stop(context.Context, bool) error { return m.start() }
func (missing) cut(bool)                           {}
func (missing) view(*Set) view                     { return view{} }

// Status is what a group knows, and what it has exchanged since it began.
type Status struct {
	// Machines is their number, Following that of those that follow the server, Knowing that of
	// those that know all machines, and Outdated that of those of them that know others, which
	// are gone.
	Machines, Following, Knowing, Outdated int
	// Read and Written are bytes of TCP, and Dials are connections.
	Read, Written, Dials int64
	// Messages and Affiliates are those of the streams of light machines; zero for whole machines.
	Messages, Affiliates int64
}

// Status returns the present status.
func (c *Group) Status(_ struct{}, s *Status) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*s = Status{Machines: len(c.machines), Read: c.traffic.Read.Load(), Written: c.traffic.Written.Load(), Dials: c.traffic.Dials.Load(),
		Messages: c.traffic.Messages.Load(), Affiliates: c.traffic.Affiliates.Load()}
	for _, m := range c.machines {
		v := m.view(&c.all)
		if v.following {
			s.Following++
		}
		if v.following && !v.lacks {
			s.Knowing++
		}
		if v.following && !v.lacks && v.extra {
			s.Outdated++
		}
	}
	return nil
}

// Heap returns the bytes of the heap after a collection, without the kernels and caches of whole
// machines: those are outside of an agent.
func (c *Group) Heap(_ struct{}, bytes *int64) error {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	*bytes = int64(m.HeapAlloc)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.machines {
		if w, is := m.(*whole); is {
			*bytes -= int64(w.kernel.size() + w.cache.size())
		}
	}
	return nil
}
