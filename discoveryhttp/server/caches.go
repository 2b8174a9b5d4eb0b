package server

import (
	"net/netip"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// smallSnapshot is the size up to which a snapshot is encoded anew when it has changed, in
	// bytes.
	smallSnapshot = 8 << 10
	// baseLife is how long a snapshot is kept for the next reader.
	baseLife = 10 * time.Second
	// recentParts is how many encodings of events are kept while they are sent.
	recentParts = 4
	// recentLife is how long they are kept afterwards.
	recentLife = time.Second
)

// caches have what was encoded for the readers of a cluster, for further readers.
type caches struct {
	account *account

	partsMu sync.Mutex
	// parts are the encodings of changes that someone holds.
	parts map[store.Range]*encoded
	// recent are those that are held for readers to come.
	recent []*encoded
	drops  *time.Timer

	baseMu sync.Mutex
	// bases are the large snapshots that new readers begin with, and small are for small ones and
	// lists, each by the largest size of a message.
	bases   map[int]*base
	small   map[int]*single
	forgets *time.Timer
}

func newCaches(a *account) caches {
	return caches{account: a, parts: map[store.Range]*encoded{}, bases: map[int]*base{}, small: map[int]*single{}}
}

// encoded are the messages of changes.
type encoded struct {
	messages []*message
	// events is the number of changes.
	events int
}

// single is the encoding of one snapshot, and not the snapshot.
type single struct {
	of       weak.Pointer[store.Snapshot]
	messages []*message
}

// take takes changes from the watcher of a reader, of about limit bytes, in messages that the
// reader holds from now on. They are shared by all who take the same. It returns the number of
// changes. There may be none because there is no room for their encoding: then the reader is
// woken when there is.
func (c *caches) take(r *reader, limit int) (messages []*message, events int, err error) {
	// To release takes partsMu.
	var released []*message
	defer func() { releaseAll(released) }()
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	span, size, err := r.watcher.Peek(limit)
	if err != nil || span.Empty() {
		return nil, 0, err
	}
	if known := c.parts[span]; known != nil {
		held := 0
		for held < len(known.messages) && known.messages[held].hold() {
			held++
		}
		if held == len(known.messages) {
			if _, err := r.watcher.Take(span); err != nil {
				released = known.messages
				return nil, 0, err
			}
			return known.messages, known.events, nil
		}
		released = known.messages[:held]
	}
	reserved := reservedForParts(size, eventsPart)
	if !c.account.reserveOrWait(reserved, r) {
		return nil, 0, nil
	}
	taken, err := r.watcher.Take(span)
	if err != nil {
		c.account.settle(-reserved)
		return nil, 0, err
	}
	made := &encoded{encodeEvents(c.account, taken, eventsPart, reserved), len(taken)}
	for _, m := range made.messages {
		m.gone = func() { c.lost(span, made) }
		m.refs.Add(1)
	}
	c.parts[span] = made
	c.recent = append(c.recent, made)
	if len(c.recent) > recentParts {
		released = append(slices.Clone(released), c.recent[0].messages...)
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	return made.messages, made.events, nil
}

// lost forgets messages of which one is gone.
func (c *caches) lost(span store.Range, e *encoded) {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	if c.parts[span] == e {
		delete(c.parts, span)
	}
}

// keepRecent keeps recent encodings for readers who get the same changes a little later.
func (c *caches) keepRecent() {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	switch {
	case len(c.recent) == 0:
	case c.drops == nil:
		c.drops = time.AfterFunc(recentLife, c.dropRecent)
	default:
		c.drops.Reset(recentLife)
	}
}

func (c *caches) dropRecent() {
	c.partsMu.Lock()
	dropped := c.recent
	c.recent = nil
	c.partsMu.Unlock()
	for _, e := range dropped {
		releaseAll(e.messages)
	}
}

// encode returns the messages of a snapshot for a reader at an address, which holds them from
// now on. They are shared by all with the same snapshot. One reader at a time begins.
func (c *caches) encode(s *store.Snapshot, limit int, address netip.Addr) ([]*message, error) {
	of := weak.Make(s)
	if messages := c.heldSingle(of, limit); messages != nil {
		return messages, nil
	}
	if err := c.account.reserveFor(address, reservedForSnapshot(s, limit)); err != nil {
		return nil, err
	}
	made := &single{of, encodeSnapshot(c.account, s, limit)}
	for _, m := range made.messages {
		m.refs.Add(1)
	}
	c.baseMu.Lock()
	before := c.small[limit]
	c.small[limit] = made
	c.remember()
	c.baseMu.Unlock()
	if before != nil {
		releaseAll(before.messages)
	}
	return made.messages, nil
}

// heldSingle returns the messages of a snapshot, held for a reader; nil if there are none.
func (c *caches) heldSingle(of weak.Pointer[store.Snapshot], limit int) []*message {
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	known := c.small[limit]
	if known == nil || known.of != of {
		return nil
	}
	for _, m := range known.messages {
		m.refs.Add(1)
	}
	return known.messages
}

// start returns the messages that a reader at an address begins with, which holds them from now
// on. Those of a large snapshot are an older one, and what has changed since. One reader at a
// time begins.
func (c *caches) start(s *store.Snapshot, limit int, address netip.Addr) ([]*message, error) {
	if s.Size() <= smallSnapshot {
		return c.encode(s, limit, address)
	}
	if messages := c.followed(s, limit); messages != nil {
		return messages, nil
	}
	if err := c.account.reserveFor(address, baseCost(s, limit)); err != nil {
		return nil, err
	}
	b := newBase(c.account, s, limit)
	messages := b.hold()
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	c.bases[limit] = b
	c.remember()
	return messages, nil
}

// followed returns the messages of a base that has followed to a snapshot, held for a reader. It
// drops one that cannot, and returns nil.
func (c *caches) followed(s *store.Snapshot, limit int) []*message {
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	b := c.bases[limit]
	if b == nil {
		return nil
	}
	if !b.follow(s) {
		delete(c.bases, limit)
		b.release()
		return nil
	}
	c.remember()
	return b.hold()
}

// remember keeps the snapshots for a while. c.baseMu is held.
func (c *caches) remember() {
	if c.forgets == nil {
		c.forgets = time.AfterFunc(baseLife, c.forget)
	} else {
		c.forgets.Reset(baseLife)
	}
}

// forget drops the snapshots.
func (c *caches) forget() {
	c.baseMu.Lock()
	defer c.baseMu.Unlock()
	for _, b := range c.bases {
		b.release()
	}
	for _, s := range c.small {
		releaseAll(s.messages)
	}
	clear(c.bases)
	clear(c.small)
	if c.forgets != nil {
		c.forgets.Stop()
	}
}

// drop drops all that is kept for readers to come.
func (c *caches) drop() {
	c.dropRecent()
	c.forget()
}
