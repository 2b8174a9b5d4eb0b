package server

import (
	"context"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

// yieldAfter is how many readers are flushed before their connections get the processor.
const yieldAfter = 32

// clusters are the clusters with readers.
type clusters struct {
	account *account

	mu   sync.Mutex
	byID map[string]*cluster
}

// dropCaches drops what clusters keep for readers to come.
func (c *clusters) dropCaches() {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.byID))
	c.mu.Unlock()
	for _, of := range all {
		of.drop()
	}
}

// join returns a cluster for one more reader, who calls leave at the end.
func (c *clusters) join(id string) (of *cluster, leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of = c.byID[id]
	if of == nil {
		of = newCluster(c.account)
		c.byID[id] = of
	}
	of.readers++
	return of, func() {
		c.mu.Lock()
		of.readers--
		unused := of.readers == 0
		if unused {
			delete(c.byID, id)
		}
		c.mu.Unlock()
		if unused {
			of.drop()
		}
	}
}

// cluster sends the changes of a cluster to its readers. One goroutine at a time does so for
// all of them: changes that came meanwhile go into one message, which is encoded once. Under
// load it lingers, so that more of them do.
type cluster struct {
	caches
	// readers is guarded by clusters.mu.
	readers int
	// beginning has the one reader at a time that begins, so that one snapshot at a time is
	// held for that.
	beginning chan struct{}

	mu sync.Mutex
	// awake are the readers with something to send.
	awake []*reader
	// running is set while a goroutine or timer will look at awake.
	running bool
	pace    pace
}

func newCluster(a *account) *cluster {
	return &cluster{caches: newCaches(a), beginning: make(chan struct{}, 1)}
}

// begin waits until a reader may begin. The caller calls end when it has its messages.
func (c *cluster) begin(ctx context.Context) (end func(), err error) {
	select {
	case c.beginning <- struct{}{}:
		return func() { <-c.beginning }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wake makes the cluster flush a reader soon. It does not block.
func (c *cluster) wake(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awake = append(c.awake, r)
	if c.running {
		return
	}
	c.running = true
	c.schedule()
}

// schedule runs the cluster at once, or later under load. c.mu is held.
func (c *cluster) schedule() {
	if wait := c.pace.linger(time.Now()); wait > 0 {
		time.AfterFunc(wait, c.run)
		return
	}
	go c.run()
}

// run flushes the readers that are awake, until there are none or it is time to linger.
func (c *cluster) run() {
	events := 0
	for {
		c.mu.Lock()
		c.pace.add(time.Now(), events)
		awake := c.awake
		c.awake = nil
		switch {
		case len(awake) == 0:
			c.running = false
			c.mu.Unlock()
			c.keepRecent()
			return
		case events > 0 && c.pace.linger(time.Now()) > 0:
			c.awake = awake
			c.schedule()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		events = 0
		for i, r := range awake {
			events += r.flush()
			// The connections write what they have while it is in the cache.
			if i%yieldAfter == yieldAfter-1 {
				runtime.Gosched()
			}
		}
	}
}

const (
	// maxLinger is the longest wait for more changes.
	maxLinger = 250 * time.Millisecond
	// lightLoad and fullLoad are the loads from which on the wait grows and does not grow
	// any more, in events to be sent per second, counted once for each reader. At 50 updates
	// a second to 1,000 readers nothing waits; the start of a large cluster is full load.
	lightLoad, fullLoad = 60_000, 120_000
	// loadWindow is the time over which the load is averaged.
	loadWindow = time.Second
)

// pace measures the load of a cluster.
type pace struct {
	load float64
	at   time.Time
}

// add counts n events sent.
func (p *pace) add(now time.Time, n int) {
	p.decay(now)
	p.load += float64(n) / loadWindow.Seconds()
}

func (p *pace) decay(now time.Time) {
	if passed := now.Sub(p.at); passed > 0 {
		p.load *= math.Exp(-passed.Seconds() / loadWindow.Seconds())
		p.at = now
	}
}

// linger returns how long to wait for more changes.
func (p *pace) linger(now time.Time) time.Duration {
	p.decay(now)
	share := min(max((p.load-lightLoad)/(fullLoad-lightLoad), 0), 1)
	return time.Duration(share * float64(maxLinger))
}
