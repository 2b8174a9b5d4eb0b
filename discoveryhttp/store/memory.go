package store

import (
	"bytes"
	"context"
	"crypto/subtle"
	"sync"
	"time"
)

// Memory is a store in memory. It is empty after a restart.
type Memory struct {
	limits Limits

	mu       sync.Mutex
	clusters map[string]*cluster
}

// cluster is the affiliates and watchers of one cluster.
type cluster struct {
	entries map[string]*entry
	// watchers are the watchers with the token of each; nil for one without.
	watchers map[*Watcher][]byte
	pin      pin
	// snapshot caches the current entries; nil after a change.
	snapshot *Snapshot
}

// pin is the member token of a cluster's first affiliate, as a hash.
type pin struct {
	// hash is the SHA-256 of the token; nil if there is no pin.
	hash []byte
	// created and used are the times of the first and the last use, in milliseconds
	// since 1970.
	created, used int64
	// saved is the time of use that is on disk; only Bolt sets it.
	saved int64
}

// admits reports whether there is no pin, or hash is it.
func (p pin) admits(hash []byte) bool {
	return p.hash == nil || subtle.ConstantTimeCompare(p.hash, hash) == 1
}

// isExpired reports whether the pin has not been used for its PinLife. now is in
// milliseconds since 1970.
func (p pin) isExpired(now int64) bool {
	return p.used+PinLife(time.UnixMilli(p.created), time.UnixMilli(p.used)).Milliseconds() <= now
}

func newCluster() *cluster {
	return &cluster{entries: map[string]*entry{}, watchers: map[*Watcher][]byte{}}
}

// NewMemory returns an empty store.
func NewMemory(limits Limits) *Memory {
	return &Memory{limits: limits, clusters: map[string]*cluster{}}
}

// open returns a cluster and creates it if it is new. m.mu is held.
func (m *Memory) open(clusterID string) (*cluster, error) {
	c := m.clusters[clusterID]
	if c == nil {
		if m.limits.Clusters > 0 && len(m.clusters) >= m.limits.Clusters {
			return nil, ErrTooManyClusters
		}
		c = newCluster()
		m.clusters[clusterID] = c
	}
	return c, nil
}

// dropEmpty removes a cluster without affiliates, watchers and pin. m.mu is held.
func (m *Memory) dropEmpty(clusterID string) {
	if c := m.clusters[clusterID]; c != nil && len(c.entries) == 0 && len(c.watchers) == 0 && c.pin.hash == nil {
		delete(m.clusters, clusterID)
	}
}

// Update implements server.Store.
func (m *Memory) Update(_ context.Context, clusterID string, u Update) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.dropEmpty(clusterID)
	c, err := m.open(clusterID)
	if err != nil {
		return err
	}
	if u.Token != nil && !c.pin.admits(u.Token) {
		return ErrOtherToken
	}
	if err := c.update(u, m.limits); err != nil {
		return err
	}
	if u.Token != nil {
		c.use(u.Token, u.Now)
	}
	return nil
}

// use makes token the pin of a cluster without one, which ends the watches with another.
// It records the use of a pin.
func (c *cluster) use(token []byte, now time.Time) {
	if c.pin.hash == nil {
		c.pin = pin{hash: bytes.Clone(token), created: now.UnixMilli()}
		for w, other := range c.watchers {
			if other != nil && !c.pin.admits(other) {
				w.End(ErrOtherToken)
			}
		}
	}
	c.pin.used = max(c.pin.used, now.UnixMilli())
}

// update applies an update, or returns the limit that it exceeds.
func (c *cluster) update(u Update, limits Limits) error {
	e := c.entries[u.ID]
	if e == nil {
		if limits.Affiliates > 0 && len(c.entries) >= limits.Affiliates {
			return ErrTooManyAffiliates
		}
		e = &entry{}
	}
	changed, err := e.update(u, limits.Endpoints)
	if err != nil {
		return err
	}
	c.entries[u.ID] = e
	if changed {
		c.publish(NewUpdate(e.affiliate(u.ID)))
	}
	return nil
}

func (c *cluster) publish(e *Event) {
	c.snapshot = nil
	for w := range c.watchers {
		w.Push(e)
	}
}

// Delete implements server.Store.
func (m *Memory) Delete(_ context.Context, clusterID, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil || c.entries[id] == nil {
		return nil
	}
	c.remove(id)
	m.dropEmpty(clusterID)
	return nil
}

func (c *cluster) remove(id string) {
	delete(c.entries, id)
	c.publish(NewDeletion(id))
}

// List implements server.Store.
func (m *Memory) List(_ context.Context, clusterID string) (*Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil {
		return &Snapshot{}, nil
	}
	return c.list(), nil
}

func (c *cluster) list() *Snapshot {
	if c.snapshot == nil {
		all := make([]Affiliate, 0, len(c.entries))
		for id, e := range c.entries {
			all = append(all, e.affiliate(id))
		}
		c.snapshot = NewSnapshot(all)
	}
	return c.snapshot
}

// Watch implements server.Store.
func (m *Memory) Watch(_ context.Context, clusterID string, token []byte) (*Snapshot, *Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.open(clusterID)
	if err != nil {
		return nil, nil, err
	}
	if token != nil && !c.pin.admits(token) {
		return nil, nil, ErrOtherToken
	}
	if m.limits.Watchers > 0 && len(c.watchers) >= m.limits.Watchers {
		return nil, nil, ErrTooManyWatchers
	}
	var w *Watcher
	w = NewWatcher(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(c.watchers, w)
		m.dropEmpty(clusterID)
	})
	c.watchers[w] = bytes.Clone(token)
	return c.list(), w, nil
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
	c.use(token, now)
	return true, nil
}

// Expire implements server.Store.
func (m *Memory) Expire(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now, func(string, string) {})
	return nil
}

// expire removes what has expired. It calls touched with each affiliate that
// changed or was removed, and with an empty ID for each pin. m.mu is held.
func (m *Memory) expire(now time.Time, touched func(clusterID, id string)) {
	at := now.UnixMilli()
	for clusterID, c := range m.clusters {
		// A cached snapshot is worth its memory only while it is asked for often.
		c.snapshot = nil
		for id, e := range c.entries {
			fewer := e.expireEndpoints(id, at)
			switch {
			case e.isExpired(at):
				c.remove(id)
			case fewer:
				c.publish(NewUpdate(e.affiliate(id)))
			default:
				continue
			}
			touched(clusterID, id)
		}
		if c.pin.hash != nil && len(c.entries) == 0 && len(c.watchers) == 0 && c.pin.isExpired(at) {
			c.pin = pin{}
			touched(clusterID, "")
		}
		m.dropEmpty(clusterID)
	}
}

// Stats implements server.Store.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Clusters: len(m.clusters)}
	for _, c := range m.clusters {
		s.Affiliates += len(c.entries)
		s.Watchers += len(c.watchers)
	}
	return s
}

// Ready implements server.Store.
func (m *Memory) Ready(context.Context) error { return nil }

// Close implements io.Closer.
func (m *Memory) Close() error { return nil }
