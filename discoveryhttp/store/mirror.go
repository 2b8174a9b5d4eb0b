package store

import (
	"context"
	"errors"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
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
		m = &mirror{store: s, clusterID: clusterID, prefix: clusterKey(clusterID), stop: func() {}, watchers: map[*Watcher]bool{}}
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
	response, err := m.store.kv.Get(ctx, m.prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	m.contents = newContents(m.prefix, response.Kvs)
	m.loaded = true
	following, stop := context.WithCancel(context.Background())
	m.store.mu.Lock()
	m.stop = stop
	m.store.mu.Unlock()
	// Without a leader, a member would keep still rather than tell that it is cut off.
	changes := m.store.watch.Watch(clientv3.WithRequireLeader(following), m.prefix, clientv3.WithPrefix(),
		clientv3.WithRev(response.Header.Revision+1))
	m.store.following.Go(func() { m.follow(following, changes) })
	return nil
}

// follow takes changes until the mirror is stopped or etcd's watch ends, after
// which everyone must start over.
func (m *mirror) follow(ctx context.Context, changes clientv3.WatchChan) {
	var err error
	for response := range changes {
		if err = response.Err(); err != nil {
			break
		}
		m.mu.Lock()
		m.take(response.Events)
		m.mu.Unlock()
	}
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("the watch of etcd ended")
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
func (m *mirror) take(events []*clientv3.Event) {
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		var touched []string
		for len(events) > 0 && events[0].Kv.ModRevision == revision {
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

func (m *mirror) one(e *clientv3.Event) (id string, changed bool) {
	if e.Type == clientv3.EventTypePut {
		return m.contents.put(m.prefix, e.Kv)
	}
	id, changed = m.contents.remove(m.prefix, e.Kv.Key)
	if _, endpoint, ok := at(m.prefix, e.Kv.Key); ok && endpoint == nil {
		m.store.following.Go(func() { m.store.sweep(m.clusterID, id) })
	}
	return id, changed
}

// sweep removes the endpoints of an affiliate that has gone. Every server that
// watches does; where it is not done, they end with their leases.
func (s *Etcd) sweep(clusterID, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), etcdTimeout)
	defer cancel()
	prefix := affiliateKey(clusterID, id)
	_, err := s.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(prefix+dataKey), "=", 0)).
		Then(clientv3.OpDelete(prefix, clientv3.WithPrefix())).Commit()
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Debug("the endpoints of an affiliate that has gone are left to their leases", "error", err)
	}
}
