package server

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// smallSnapshot is the size up to which each reader may have a snapshot of its own, in
	// bytes.
	smallSnapshot = 8 << 10
	// baseLife is how long a snapshot is kept for the next reader.
	baseLife = 10 * time.Second
	// recentParts is how many encodings of events are kept while they are sent.
	recentParts = 4
	// recentLife is how long they are kept afterwards.
	recentLife = time.Second
	// yieldAfter is how many readers are flushed before their connections get the processor.
	yieldAfter = 32
)

// clusters are the clusters with readers.
type clusters struct {
	mu   sync.Mutex
	byID map[string]*cluster
}

// join returns a cluster for one more reader, who calls leave at the end.
func (c *clusters) join(id string) (of *cluster, leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of = c.byID[id]
	if of == nil {
		of = &cluster{}
		c.byID[id] = of
	}
	of.readers++
	return of, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if of.readers--; of.readers == 0 {
			delete(c.byID, id)
			of.forget()
		}
	}
}

// cluster sends the changes of a cluster to its readers. One goroutine at a time does so for
// all of them: changes that came meanwhile go into one message, which is encoded once. Under
// load it lingers, so that more of them do.
type cluster struct {
	// readers is guarded by clusters.mu.
	readers int

	mu sync.Mutex
	// awake are the readers with something to send.
	awake []*reader
	// running is set while a goroutine or timer will look at awake.
	running bool
	pace    pace

	partsMu sync.Mutex
	// recent are the parts of the events that were taken last.
	recent []recent
	drops  *time.Timer

	baseMu sync.Mutex
	// base is the snapshot that new readers begin with; nil if there was none lately.
	base    *base
	forgets *time.Timer
}

// recent are events and the parts that they are sent in.
type recent struct {
	events []*store.Event
	limit  int
	parts  []*part
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

// parts returns events in parts of at most limit bytes, which are shared by all who have the
// same events.
func (c *cluster) parts(events []*store.Event, limit int) []*part {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	for _, known := range slices.Backward(c.recent) {
		if known.limit == limit && slices.Equal(known.events, events) {
			return slices.Clone(known.parts)
		}
	}
	if len(c.recent) >= recentParts {
		c.recent = c.recent[1:]
	}
	parts := split(events, limit)
	c.recent = append(c.recent, recent{events, limit, parts})
	return slices.Clone(parts)
}

// keepRecent keeps the recent parts for readers who get the same events a little later.
func (c *cluster) keepRecent() {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	if c.drops == nil {
		c.drops = time.AfterFunc(recentLife, c.dropRecent)
		return
	}
	c.drops.Reset(recentLife)
}

func (c *cluster) dropRecent() {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	c.recent = nil
}

// begin returns the parts of a snapshot. Those of a large one are shared: they are an older
// snapshot, and what has changed since. begin also returns what is shared; nil if nothing is.
func (c *cluster) begin(snapshot *store.Snapshot, limit int) ([]*part, *shared) {
	if snapshot.Size() <= smallSnapshot {
		return snapshotParts(snapshot, limit), nil
	}
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	if c.base == nil || !c.base.follow(snapshot) {
		c.base = newBase(snapshot)
	}
	if c.forgets == nil {
		c.forgets = time.AfterFunc(baseLife, c.forget)
	} else {
		c.forgets.Reset(baseLife)
	}
	return c.base.begin(limit)
}

// forget drops the snapshot.
func (c *cluster) forget() {
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	c.base = nil
	if c.forgets != nil {
		c.forgets.Stop()
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
