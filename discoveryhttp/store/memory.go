package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/spanmesh/span/reconciler/latest"
)

// Memory is a store that forgets everything when it is closed.
type Memory struct {
	limits Limits

	mu       sync.Mutex
	clusters map[string]*cluster
}

// cluster is the affiliates and watchers of one cluster.
type cluster struct {
	entries  map[string]*entry
	watchers map[*Watcher]bool
}

func newCluster() *cluster {
	return &cluster{entries: map[string]*entry{}, watchers: map[*Watcher]bool{}}
}

// entry is an affiliate with what watchers need not know.
type entry struct {
	view *Affiliate
	// expires is that of the data.
	expires   time.Time
	endpoints map[string]time.Time
}

// NewMemory makes an empty store.
func NewMemory(limits Limits) *Memory {
	return &Memory{limits: limits, clusters: map[string]*cluster{}}
}

// Update implements server.Store.
func (m *Memory) Update(_ context.Context, clusterID string, u Update) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	var e *entry
	if c != nil {
		e = c.entries[u.ID]
	}
	if err := m.fits(c, e, u); err != nil {
		return err
	}
	if c == nil {
		c = newCluster()
		m.clusters[clusterID] = c
	}
	if e == nil {
		e = &entry{view: &Affiliate{ID: u.ID}, endpoints: map[string]time.Time{}}
		c.entries[u.ID] = e
	}
	changed := false
	if u.Data != nil && !bytes.Equal(u.Data, e.view.Data) {
		e.view = &Affiliate{ID: u.ID, Data: u.Data, Endpoints: e.view.Endpoints}
		changed = true
	}
	if u.Data != nil {
		e.expires = later(e.expires, u.Expires)
	}
	for _, endpoint := range u.Endpoints {
		if _, known := e.endpoints[string(endpoint)]; !known {
			e.view = &Affiliate{ID: u.ID, Data: e.view.Data, Endpoints: append(slices.Clip(e.view.Endpoints), endpoint)}
			changed = true
		}
		e.endpoints[string(endpoint)] = later(e.endpoints[string(endpoint)], u.Expires)
	}
	if changed {
		c.publish(Change{Affiliate: e.view})
	}
	return nil
}

// fits checks the limits before anything is changed.
func (m *Memory) fits(c *cluster, e *entry, u Update) error {
	if e == nil {
		if c != nil && m.limits.Affiliates > 0 && len(c.entries) >= m.limits.Affiliates {
			return ErrTooManyAffiliates
		}
		e = &entry{}
	}
	if m.limits.Endpoints == 0 {
		return nil
	}
	fresh := map[string]bool{}
	for _, endpoint := range u.Endpoints {
		if _, known := e.endpoints[string(endpoint)]; !known {
			fresh[string(endpoint)] = true
		}
	}
	if len(e.endpoints)+len(fresh) > m.limits.Endpoints {
		return ErrTooManyEndpoints
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Delete implements server.Store. Deleting what is not there is no error.
func (m *Memory) Delete(_ context.Context, clusterID, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil || c.entries[id] == nil {
		return nil
	}
	e := c.entries[id]
	delete(c.entries, id)
	c.publish(Change{Affiliate: e.view, Deleted: true})
	m.dropEmpty(clusterID)
	return nil
}

// dropEmpty forgets a cluster that nobody is in or watches.
func (m *Memory) dropEmpty(clusterID string) {
	if c := m.clusters[clusterID]; c != nil && len(c.entries) == 0 && len(c.watchers) == 0 {
		delete(m.clusters, clusterID)
	}
}

// List implements server.Store.
func (m *Memory) List(_ context.Context, clusterID string) ([]*Affiliate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list(clusterID), nil
}

func (m *Memory) list(clusterID string) []*Affiliate {
	c := m.clusters[clusterID]
	if c == nil {
		return nil
	}
	all := make([]*Affiliate, 0, len(c.entries))
	for _, e := range c.entries {
		all = append(all, e.view)
	}
	slices.SortFunc(all, func(a, b *Affiliate) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Watch implements server.Store.
func (m *Memory) Watch(_ context.Context, clusterID string) ([]*Affiliate, *Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil {
		c = newCluster()
		m.clusters[clusterID] = c
	}
	w := &Watcher{changes: latest.New[string, Change]()}
	w.stop = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(c.watchers, w)
		m.dropEmpty(clusterID)
	}
	c.watchers[w] = true
	return m.list(clusterID), w, nil
}

// Expire implements server.Store.
func (m *Memory) Expire(_ context.Context, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now, func(string, string) {})
	return nil
}

// expire removes what is past its time and tells touched of each affiliate that
// changed or went; m.mu is held.
func (m *Memory) expire(now time.Time, touched func(clusterID, id string)) {
	for clusterID, c := range m.clusters {
		for id, e := range c.entries {
			fewer := e.expireEndpoints(now)
			if e.isOver(now) {
				delete(c.entries, id)
				c.publish(Change{Affiliate: e.view, Deleted: true})
				touched(clusterID, id)
				continue
			}
			if fewer {
				c.publish(Change{Affiliate: e.view})
				touched(clusterID, id)
			}
		}
		m.dropEmpty(clusterID)
	}
}

// isOver tells an affiliate whose data nobody refreshed, whatever endpoints
// others have added, and one that has neither.
func (e *entry) isOver(now time.Time) bool {
	if e.view.Data != nil {
		return !e.expires.After(now)
	}
	return len(e.endpoints) == 0
}

// expireEndpoints drops the endpoints that nobody refreshed.
func (e *entry) expireEndpoints(now time.Time) bool {
	kept := make([][]byte, 0, len(e.view.Endpoints))
	for _, endpoint := range e.view.Endpoints {
		if e.endpoints[string(endpoint)].After(now) {
			kept = append(kept, endpoint)
		} else {
			delete(e.endpoints, string(endpoint))
		}
	}
	if len(kept) == len(e.view.Endpoints) {
		return false
	}
	e.view = &Affiliate{ID: e.view.ID, Data: e.view.Data, Endpoints: kept}
	return true
}

// Close implements server.Store.
func (m *Memory) Close() error { return nil }

func (c *cluster) publish(change Change) {
	for w := range c.watchers {
		w.changes.Push(change.Affiliate.ID, change)
	}
}

// Watcher receives the changes of one cluster.
type Watcher struct {
	stop    func()
	changes *latest.Queue[string, Change]
}

// Next waits for changes and returns all that are queued, or the context's error.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) { return w.changes.Next(ctx) }

// Close ends the watch.
func (w *Watcher) Close() { w.stop() }
