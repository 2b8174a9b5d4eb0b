package store

import (
	"context"
	"sync"

	"github.com/spanmesh/span/discoveryhttp/etcd"
	"github.com/spanmesh/span/discoveryhttp/etcdpb"
)

// mirror follows a cluster in etcd for all who watch it at this server.
type mirror struct {
	store     *Etcd
	clusterID string
	prefix    string
	// users are those who hold the mirror; the store's lock guards them.
	users int
	stop  context.CancelFunc

	mu       sync.Mutex
	loaded   bool
	contents contents
	watchers map[*Watcher]bool
}

// Watch implements server.Store.
func (s *Etcd) Watch(ctx context.Context, clusterID string) (*Snapshot, *Watcher, error) {
	m, err := s.hold(clusterID)
	if err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.loaded {
		if err := m.load(ctx); err != nil {
			s.release(m)
			return nil, nil, err
		}
	}
	if s.limits.Watchers > 0 && len(m.watchers) >= s.limits.Watchers {
		s.release(m)
		return nil, nil, ErrTooManyWatchers
	}
	w := newWatcher()
	w.stop = sync.OnceFunc(func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
		s.release(m)
	})
	m.watchers[w] = true
	return m.contents.list(), w, nil
}

// hold returns the mirror of a cluster, made if need be, for a user that must
// release it.
func (s *Etcd) hold(clusterID string) (*mirror, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mirrors[clusterID]
	if m == nil {
		if s.limits.Clusters > 0 && len(s.mirrors) >= s.limits.Clusters {
			return nil, ErrTooManyClusters
		}
		m = &mirror{store: s, clusterID: clusterID, prefix: s.clusterKey(clusterID), stop: func() {}, watchers: map[*Watcher]bool{}}
		s.mirrors[clusterID] = m
	}
	m.users++
	return m, nil
}

// release gives a mirror back; that nobody holds ends.
func (s *Etcd) release(m *mirror) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.users--; m.users == 0 {
		s.drop(m)
		m.stop()
	}
}

// drop makes the next watch begin with another mirror. s.mu is held.
func (s *Etcd) drop(m *mirror) {
	if s.mirrors[m.clusterID] == m {
		delete(s.mirrors, m.clusterID)
	}
}

// load reads the cluster and begins to follow it. m.mu is held.
func (m *mirror) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	response, err := m.store.client.Range(ctx, below(m.prefix))
	if err != nil {
		return err
	}
	m.contents = newContents(m.prefix, response.GetKvs())
	m.loaded = true
	following, stop := context.WithCancel(m.store.ctx)
	m.store.mu.Lock()
	m.stop = stop
	m.store.mu.Unlock()
	m.store.following.Go(func() { m.follow(following, response.GetHeader().GetRevision()+1) })
	return nil
}

// follow takes changes from a revision on until the mirror is stopped or etcd's watch
// ends, after which everyone must start over.
func (m *mirror) follow(ctx context.Context, revision int64) {
	changes := &etcdpb.WatchCreateRequest{Key: []byte(m.prefix), RangeEnd: etcd.PrefixEnd(m.prefix), StartRevision: revision}
	err := m.store.client.Watch(ctx, changes, func(events []*etcdpb.Event) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.take(events)
	})
	if ctx.Err() != nil {
		return
	}
	m.store.log.Warn("a cluster is followed anew", "error", err)
	m.store.mu.Lock()
	m.store.drop(m)
	m.store.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		w.startOver()
	}
}

// take publishes what events change. What one revision did to an affiliate is one
// change. m.mu is held.
func (m *mirror) take(events []*etcdpb.Event) {
	for len(events) > 0 {
		revision := events[0].GetKv().GetModRevision()
		var touched []string
		for len(events) > 0 && events[0].GetKv().GetModRevision() == revision {
			id, changed := m.one(events[0])
			if changed && (len(touched) == 0 || touched[len(touched)-1] != id) {
				touched = append(touched, id)
			}
			events = events[1:]
		}
		for _, id := range touched {
			e := newEvent(Affiliate{ID: id}, true)
			if p := m.contents[id]; p != nil {
				e = newEvent(p.affiliate(id), false)
			}
			for w := range m.watchers {
				w.push(e)
			}
		}
	}
}

func (m *mirror) one(e *etcdpb.Event) (id string, changed bool) {
	if e.GetType() == etcdpb.Event_PUT {
		return m.contents.put(m.prefix, e.GetKv())
	}
	id, changed = m.contents.remove(m.prefix, e.GetKv().GetKey())
	if _, endpoint, ok := at(m.prefix, e.GetKv().GetKey()); ok && endpoint == nil {
		m.store.following.Go(func() { m.store.sweep(m.clusterID, id) })
	}
	return id, changed
}

// sweep removes the endpoints of an affiliate that has gone. Every server that
// watches does; where it is not done, they end with their leases.
func (s *Etcd) sweep(clusterID, id string) {
	ctx, cancel := context.WithTimeout(s.ctx, etcdTimeout)
	defer cancel()
	prefix := s.affiliateKey(clusterID, id)
	_, err := s.client.Txn(ctx, &etcdpb.TxnRequest{
		Compare: []*etcdpb.Compare{missing(prefix + dataKey)}, Success: []*etcdpb.RequestOp{removal(prefix)},
	})
	if err != nil && ctx.Err() == nil {
		s.log.Debug("the endpoints of an affiliate that has gone are left to their leases", "error", err)
	}
}
