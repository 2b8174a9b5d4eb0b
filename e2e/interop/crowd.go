package interop

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Crowd is many Talos machines behind one address.
type Crowd struct {
	// Target is the service's host:port, without TLS.
	Target, Cluster string
	Machines        int
	// Harvested is how many others each machine has an endpoint of. There may be more of
	// them than machines.
	Harvested int
}

// Run runs the machines until ctx ends. The crowd is whole when every machine has published,
// watches, and knows all others. Run prints "whole after" and a duration when it becomes so,
// "parted" when it is no longer, and "refused" with the error for each refusal.
func (c Crowd) Run(ctx context.Context, out io.Writer) error {
	watcher := crowdWatcher{out: out, states: make([]TalosState, c.Machines), since: time.Now()}
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.Machines {
		machine := Talos{Target: "passthrough:///" + c.Target, Cluster: c.Cluster, ID: machineID(i), Changed: func(s TalosState) { watcher.changed(i, s) }}
		for n := range c.Harvested {
			machine.Harvested = append(machine.Harvested, machineID((i+1+n)%max(c.Machines, c.Harvested+1)))
		}
		group.Go(func() error { return machine.Run(ctx) })
	}
	return group.Wait()
}

func machineID(i int) string { return fmt.Sprintf("machine-%d", i) }

// crowdWatcher prints what becomes of a crowd.
type crowdWatcher struct {
	mu     sync.Mutex
	out    io.Writer
	states []TalosState
	// complete is the number of machines that are.
	complete int
	// since is when the crowd was parted, or began.
	since time.Time
}

func (w *crowdWatcher) isComplete(s TalosState) bool {
	return s.Watching && s.Published && s.Known == len(w.states)-1
}

func (w *crowdWatcher) changed(i int, s TalosState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, is := w.isComplete(w.states[i]), w.isComplete(s)
	if s.Refused != nil && w.states[i].Refused == nil {
		fmt.Fprintf(w.out, "refused: %s: %v\n", machineID(i), s.Refused)
	}
	w.states[i] = s
	switch {
	case is && !was:
		w.complete++
		if w.complete == len(w.states) {
			fmt.Fprintf(w.out, "whole after %v\n", time.Since(w.since).Round(time.Millisecond))
		}
	case was && !is:
		if w.complete == len(w.states) {
			fmt.Fprintln(w.out, "parted")
			w.since = time.Now()
		}
		w.complete--
	}
}
