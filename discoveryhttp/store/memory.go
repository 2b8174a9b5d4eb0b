package store

import (
	"bytes"
	"container/heap"
	"context"
	"net/netip"
	"sync"
	"time"
)

// Memory is a store in memory. It is empty after a restart.
type Memory struct {
	limits Limits
	// backlog counts what is kept of changes.
	backlog *Backlog

	mu       sync.Mutex
	clusters map[string]*cluster
	callers  map[netip.Addr]*caller
	// expiries has all clusters.
	expiries queue
	clock    clock
	// affiliates counts all affiliates, endpoints theirs, and bytes is what they cost, with what
	// is staged.
	affiliates, endpoints int
	bytes                 int64
	// watchers counts those of all clusters.
	watchers int
	// direct is set if a change is applied as soon as it is staged: there is no file to wait
	// for.
	direct bool
	// staged are the clusters with changes that are to be applied.
	staged []*cluster
	// listed are the clusters with a cached snapshot.
	listed map[*cluster]struct{}
	// invitations are staged and applied as the clusters are.
	invitations *invitations
}

// NewMemory returns an empty store.
func NewMemory(limits Limits) *Memory {
	return &Memory{
		limits:   limits,
		backlog:  NewBacklog(limits.Backlog),
		clusters: map[string]*cluster{},
		callers:  map[netip.Addr]*caller{},
		direct:   true,
		listed:   map[*cluster]struct{}{},

		invitations: newInvitations(limits),
	}
}

// open returns a cluster for an update. It creates it if it is new. One that has had watches
// alone is charged to an address unless that is invalid. m.mu is held, also in what follows.
func (m *Memory) open(clusterID string, address netip.Addr) (*cluster, error) {
	c := m.clusters[clusterID]
	if c == nil {
		return m.admitCluster(clusterID, address)
	}
	if c.count > 0 || !address.IsValid() || c.creator != nil && c.payer == nil {
		return c, nil
	}
	by := m.callerAt(address)
	if by != c.creator && !m.hasClusterFor(by) {
		return nil, ErrCallerFull
	}
	m.chargeFor(c, by, nil)
	return c, nil
}

// admitCluster creates a cluster that is charged to an address, if there is room for it.
func (m *Memory) admitCluster(clusterID string, address netip.Addr) (*cluster, error) {
	if m.limits.Clusters > 0 && len(m.clusters) >= m.limits.Clusters {
		return nil, ErrTooManyClusters
	}
	creator := m.callerAt(address)
	if !m.hasClusterFor(creator) {
		return nil, ErrCallerFull
	}
	return m.create(clusterID, creator), nil
}

// create creates a cluster that is charged to a caller, nil for nobody.
func (m *Memory) create(clusterID string, creator *caller) *cluster {
	c := &cluster{id: clusterID, entries: map[string]*entry{}, backlog: m.backlog, watchers: map[*Watcher]reader{}, creator: creator, due: never}
	m.charge(creator, 0, 1)
	m.clusters[clusterID] = c
	heap.Push(&m.expiries, c)
	return c
}

// drop removes a cluster if it is unused.
func (m *Memory) drop(c *cluster) {
	if m.clusters[c.id] != c || !c.isUnused() {
		return
	}
	delete(m.clusters, c.id)
	delete(m.listed, c)
	c.forget()
	heap.Remove(&m.expiries, c.position)
	m.charge(c.creator, 0, -1)
}

// stage stages an entry, or the removal of one.
func (m *Memory) stage(c *cluster, id string, e *entry) {
	m.account(c, c.planned(id), e)
	if e != nil {
		m.expiries.schedule(c, e.due())
	}
	m.touch(c)
	if m.direct {
		c.put(id, e)
		return
	}
	if c.staged == nil {
		c.staged = map[string]*entry{}
	}
	c.staged[id] = e
}

// touch notes that a cluster has changes.
func (m *Memory) touch(c *cluster) {
	if !c.touched {
		c.touched = true
		m.staged = append(m.staged, c)
	}
}

// apply makes all that is staged visible.
func (m *Memory) apply() {
	for _, c := range m.staged {
		c.apply()
		m.settle(c)
	}
	clear(m.staged)
	m.staged = m.staged[:0]
	m.invitations.apply()
}

// discard forgets all that is staged.
func (m *Memory) discard() {
	for _, c := range m.staged {
		for id, e := range c.staged {
			m.account(c, e, c.entries[id])
		}
		c.staged, c.nextPin, c.touched = nil, nil, false
		m.expiries.reschedule(c, c.nextDue())
		m.settle(c)
	}
	clear(m.staged)
	m.staged = m.staged[:0]
	m.invitations.discard()
}

// isStaged reports whether there is anything to apply.
func (m *Memory) isStaged() bool { return len(m.staged) > 0 || len(m.invitations.before) > 0 }

// settle removes a cluster that is unused, or makes its unused pin expire. One that is only
// watched is charged to one of those who watch it.
func (m *Memory) settle(c *cluster) {
	if !c.touched && c.pin.hash == nil && c.count == 0 && len(c.watchers) > 0 {
		m.chargeReader(c)
	}
	if c.pin.hash != nil && len(c.entries) == 0 && len(c.watchers) == 0 {
		m.expiries.schedule(c, c.pin.expires())
	}
	m.drop(c)
}

// Update implements server.Store.
func (m *Memory) Update(_ context.Context, clusterID string, u Update) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.update(clusterID, u)
	m.apply()
	return err
}

// update stages an update, or returns the limit that it exceeds.
func (m *Memory) update(clusterID string, u Update) error {
	c, err := m.open(clusterID, u.Caller)
	if err != nil {
		return err
	}
	defer m.settle(c)
	if u.Token != nil && !c.plannedPin().admits(u.Token) {
		return ErrOtherToken
	}
	now := m.clock.at(u.Now)
	before := c.planned(u.ID)
	after, tooMany := before.updated(u, now, m.limits.Endpoints)
	victim, err := c.victim(before, u, m.limits.Affiliates)
	if err != nil {
		return err
	}
	if err := m.checkRoom(before, after, u); err != nil {
		return err
	}
	if victim != "" {
		m.stage(c, victim, nil)
	}
	m.stage(c, u.ID, after)
	if u.Token != nil {
		c.usePin(u.Token, now)
	}
	return tooMany
}

// victim returns the affiliate that makes room for a new one in a cluster that has reached
// its limit; empty if there is room. An affiliate that publishes itself takes the place of
// one that only others speak of.
func (c *cluster) victim(before *entry, u Update, limit int) (string, error) {
	if before != nil || limit <= 0 || c.count < limit {
		return "", nil
	}
	if u.Data == nil || c.dataless == 0 {
		return "", ErrTooManyAffiliates
	}
	victim, due := "", int64(never)
	for id := range c.entries {
		if e := c.planned(id); e != nil && !e.hasData() && e.due() < due {
			victim, due = id, e.due()
		}
	}
	for id, e := range c.staged {
		if e != nil && !e.hasData() && e.due() < due {
			victim, due = id, e.due()
		}
	}
	return victim, nil
}

// Delete implements server.Store.
func (m *Memory) Delete(_ context.Context, clusterID, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(clusterID, id)
	m.apply()
	return nil
}

// remove stages the removal of an affiliate.
func (m *Memory) remove(clusterID, id string) {
	if c := m.clusters[clusterID]; c != nil && c.planned(id) != nil {
		m.stage(c, id, nil)
	}
}

// List implements server.Store.
func (m *Memory) List(_ context.Context, clusterID string) (*Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil {
		return &Snapshot{}, nil
	}
	return m.list(c), nil
}

func (m *Memory) list(c *cluster) *Snapshot {
	m.listed[c] = struct{}{}
	return c.list()
}

// Watch implements server.Store.
func (m *Memory) Watch(_ context.Context, clusterID string, caller netip.Addr, token []byte) (*Snapshot, *Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil {
		var err error
		if c, err = m.admitCluster(clusterID, caller); err != nil {
			return nil, nil, err
		}
	}
	defer m.settle(c)
	if token != nil && !c.pin.admits(token) {
		return nil, nil, ErrOtherToken
	}
	if m.limits.Watchers > 0 && len(c.watchers) >= m.limits.Watchers {
		return nil, nil, ErrTooManyWatchers
	}
	if c.log == nil {
		c.log = NewLog(m.backlog)
	}
	var w *Watcher
	w = c.log.Watch(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if _, open := c.watchers[w]; open {
			m.watchers--
		}
		if delete(c.watchers, w); len(c.watchers) == 0 {
			c.log = nil
		}
		m.settle(c)
	})
	c.watchers[w] = reader{bytes.Clone(token), caller}
	m.watchers++
	return m.list(c), w, nil
}

// Admit implements server.Store.
func (m *Memory) Admit(_ context.Context, clusterID string, token []byte, now time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil || c.pin.hash == nil {
		return true, nil
	}
	if !c.pin.admits(token) {
		return false, nil
	}
	c.pin.used = max(c.pin.used, m.clock.at(now))
	return true, nil
}

// Expire implements server.Store.
func (m *Memory) Expire(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	m.apply()
	return nil
}

// expire stages the removal of what has expired, from the clusters that are due.
func (m *Memory) expire(now time.Time) {
	// A cached snapshot is worth its memory only while it is asked for often.
	for c := range m.listed {
		c.forget()
	}
	clear(m.listed)
	m.invitations.expire(now)
	at := m.clock.at(now)
	for len(m.expiries) > 0 && m.expiries[0].due <= at {
		c := m.expiries[0]
		for id := range c.entries {
			if e := c.planned(id); e != nil && e.due() <= at {
				m.stage(c, id, e.remaining(id, at))
			}
		}
		if p := c.plannedPin(); p.hash != nil && c.count == 0 && len(c.watchers) == 0 && p.expires() <= at {
			c.nextPin = &pin{}
			m.touch(c)
		}
		m.expiries.reschedule(c, max(c.nextDue(), at+1))
	}
}

// Stats implements server.Store.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{
		Kind: "memory", Clusters: len(m.clusters), Affiliates: m.affiliates, Endpoints: m.endpoints, Watchers: m.watchers,
		Bytes: m.bytes, Backlog: m.backlog.Bytes(), Invitations: len(m.invitations.byName),
	}
}

// Ready implements server.Store.
func (m *Memory) Ready(context.Context) error { return nil }

// Close implements io.Closer.
func (m *Memory) Close() error { return nil }
