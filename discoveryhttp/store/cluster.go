package store

import (
	"bytes"
	"container/heap"
	"crypto/subtle"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// cluster is the affiliates and watchers of one cluster. A change is staged first, and
// applied once it is durable: readers and watchers see only what is applied.
type cluster struct {
	id      string
	entries map[string]*entry
	// log has the changes for the watchers; nil if there are none.
	log      *Log
	backlog  *Backlog
	watchers map[*Watcher]reader
	pin      pin
	// creator is charged for the cluster; nil for nobody.
	creator *caller
	// payer is the watcher on whose behalf creator is charged; nil if that is an update.
	payer *Watcher

	// staged are the entries that will be, by ID; nil for one that is removed.
	staged map[string]*entry
	// nextPin is the pin that will be; nil for no change.
	nextPin *pin
	// touched is set if the cluster is among those with changes.
	touched bool
	// count and dataless count the affiliates, and those without data, with what is staged.
	count, dataless int

	// snapshot caches the entries. changed are the IDs that changed since, and replaced is
	// what it holds of entries that are no more, in bytes that the backlog counts.
	snapshot *Snapshot
	changed  []string
	replaced int64

	// due is no later than anything of the cluster expires, in milliseconds of the store's
	// time. position is the cluster's in the queue.
	due      int64
	position int
}

// reader is who has a watcher.
type reader struct {
	// token is nil for one without.
	token []byte
	// caller is not valid for nobody.
	caller netip.Addr
}

// pin is the member token of a cluster's first affiliate, as a hash.
type pin struct {
	// hash is the SHA-256 of the token; nil if there is no pin.
	hash []byte
	// created and used are the times of the first and the last use, in milliseconds of the
	// store's time.
	created, used int64
	// saved is the time of use that is on disk, and number that of the record there; only
	// Bolt has them.
	saved  int64
	number uint64
}

// admits reports whether there is no pin, or hash is it.
func (p pin) admits(hash []byte) bool {
	return p.hash == nil || subtle.ConstantTimeCompare(p.hash, hash) == 1
}

// expires returns when an unused pin expires.
func (p pin) expires() int64 {
	return p.used + PinLife(time.UnixMilli(p.created), time.UnixMilli(p.used)).Milliseconds()
}

// saveDue reports whether the time of use on disk is too old: by an eighth of the pin's age,
// between a minute and an hour.
func (p pin) saveDue() bool {
	const least, most = int64(time.Minute / time.Millisecond), int64(time.Hour / time.Millisecond)
	return p.used-p.saved >= min(max((p.used-p.created)/8, least), most)
}

// planned returns an entry as it will be, nil for none.
func (c *cluster) planned(id string) *entry {
	if e, ok := c.staged[id]; ok {
		return e
	}
	return c.entries[id]
}

// plannedPin returns the pin as it will be.
func (c *cluster) plannedPin() pin {
	if c.nextPin != nil {
		return *c.nextPin
	}
	return c.pin
}

// usePin makes token the pin of a cluster without one, or records that the pin was used.
func (c *cluster) usePin(token []byte, now int64) {
	p := c.plannedPin()
	if p.hash == nil {
		c.nextPin = &pin{hash: bytes.Clone(token), created: now, used: now, saved: now}
		return
	}
	p.used = max(p.used, now)
	switch {
	case p.saveDue():
		p.saved = p.used
		c.nextPin = &p
	case c.nextPin != nil:
		c.nextPin.used = p.used
	default:
		c.pin.used = p.used
	}
}

// apply makes the staged changes visible.
func (c *cluster) apply() {
	if c.nextPin != nil {
		c.pin, c.nextPin = *c.nextPin, nil
		for w, r := range c.watchers {
			if r.token != nil && !c.pin.admits(r.token) {
				w.End(ErrOtherToken)
			}
		}
	}
	for id, e := range c.staged {
		c.put(id, e)
	}
	c.staged, c.touched = nil, false
}

// put replaces an entry, or removes it if e is nil.
func (c *cluster) put(id string, e *entry) {
	before := c.entries[id]
	switch {
	case e == nil && before == nil:
	case e == nil:
		delete(c.entries, id)
		c.publish(before, NewDeletion(id))
	default:
		c.entries[id] = e
		if before == nil || !bytes.Equal(before.wire, e.wire) {
			c.publish(before, NewUpdate(e.affiliate(id)))
		}
	}
}

// maxPatch is the number of changes beyond which a snapshot is made anew.
const maxPatch = 64

// publish adds an event to the log. before is the entry that it replaces; nil for none.
func (c *cluster) publish(before *entry, e *Event) {
	if c.snapshot != nil {
		held := before.cost()
		switch {
		case len(c.changed) == maxPatch, !c.backlog.reserve(held):
			c.forget()
		default:
			c.changed = append(c.changed, e.Affiliate.ID)
			c.replaced += held
		}
	}
	if c.log != nil {
		c.log.Push(e)
	}
}

// forget drops the snapshot.
func (c *cluster) forget() {
	c.backlog.add(-c.replaced)
	c.snapshot, c.changed, c.replaced = nil, nil, 0
}

// list returns the applied entries.
func (c *cluster) list() *Snapshot {
	switch {
	case c.snapshot == nil:
		all := make([]Affiliate, 0, len(c.entries))
		for id, e := range c.entries {
			all = append(all, e.affiliate(id))
		}
		c.snapshot = NewSnapshot(all)
	case len(c.changed) > 0:
		all := c.patched()
		c.forget()
		c.snapshot = &Snapshot{Affiliates: all}
	}
	return c.snapshot
}

// patched returns the affiliates of the snapshot with those replaced that changed.
func (c *cluster) patched() []Affiliate {
	all := make([]Affiliate, len(c.snapshot.Affiliates), len(c.snapshot.Affiliates)+len(c.changed))
	copy(all, c.snapshot.Affiliates)
	for _, id := range c.changed {
		i, found := slices.BinarySearchFunc(all, id, func(a Affiliate, id string) int { return strings.Compare(a.ID, id) })
		e := c.entries[id]
		switch {
		case e != nil && found:
			all[i] = e.affiliate(id)
		case e != nil:
			all = slices.Insert(all, i, e.affiliate(id))
		case found:
			all = slices.Delete(all, i, i+1)
		}
	}
	return all
}

// isUnused reports whether nothing is left of the cluster, or is about to be.
func (c *cluster) isUnused() bool {
	return !c.touched && len(c.entries) == 0 && len(c.watchers) == 0 && c.pin.hash == nil
}

// never is a time that does not come.
const never = math.MaxInt64

// nextDue returns when something of the cluster expires first, with what is staged.
func (c *cluster) nextDue() int64 {
	due := int64(never)
	for id := range c.entries {
		if e := c.planned(id); e != nil {
			due = min(due, e.due())
		}
	}
	for _, e := range c.staged {
		if e != nil {
			due = min(due, e.due())
		}
	}
	if p := c.plannedPin(); p.hash != nil && c.count == 0 && len(c.watchers) == 0 {
		due = min(due, p.expires())
	}
	return due
}

// queue has clusters, the first to expire first.
type queue []*cluster

var _ heap.Interface = (*queue)(nil)

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	c := x.(*cluster)
	c.position = len(*q)
	*q = append(*q, c)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return c
}

// schedule makes the cluster expire no later than due.
func (q *queue) schedule(c *cluster, due int64) {
	if due < c.due {
		c.due = due
		heap.Fix(q, c.position)
	}
}

// reschedule makes the cluster expire at due.
func (q *queue) reschedule(c *cluster, due int64) {
	c.due = due
	heap.Fix(q, c.position)
}
