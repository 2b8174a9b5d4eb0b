package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// mirror follows a cluster in etcd for all its watchers on this server.
type mirror struct {
	store *Store
	// cluster is its name in keys.
	cluster string
	prefix  string
	// users counts the watchers, and the calls that are about to make one, by caller. payer
	// is the one of them that is charged for a cluster that has nothing in etcd. store.mu guards
	// both.
	users map[callerID]int
	payer callerID

	mu     sync.Mutex
	loaded bool
	// lost is set when the mirror has stopped following the cluster.
	lost     bool
	stop     context.CancelFunc
	contents contents
	// snapshot is that of contents for all watchers that begin; nil after a change.
	snapshot *store.Snapshot
	// log has the changes for the watchers.
	log *store.Log
	// watchers are the watchers with the token of each; nil for one without.
	watchers map[*store.Watcher][]byte
}

// errLost is the error of a watch on a mirror that is lost.
var errLost = errors.New("etcd watch lost")

// Watch implements server.Store.
func (s *Store) Watch(ctx context.Context, clusterID string, caller netip.Addr, token []byte) (*store.Snapshot, *store.Watcher, error) {
	cluster, by := hashOf(clusterID), callerOf(caller)
	for {
		m, err := s.acquire(cluster, by)
		if err != nil {
			return nil, nil, err
		}
		snapshot, w, err := m.watch(ctx, by, bytes.Clone(token))
		if err != nil {
			s.release(m, by)
		}
		// Another mirror takes the place of a lost one.
		if !errors.Is(err, errLost) {
			return snapshot, w, err
		}
	}
}

// acquire returns the mirror of a cluster for a caller, and makes it if there is none. It must
// be released.
func (s *Store) acquire(cluster string, by callerID) (*mirror, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mirrors[cluster]
	if m == nil {
		if err := s.checkRoom(cluster, by); err != nil {
			return nil, err
		}
		m = &mirror{store: s, cluster: cluster, prefix: s.clusterKey(cluster), stop: func() {}, log: store.NewLog(s.backlog), users: map[callerID]int{}, watchers: map[*store.Watcher][]byte{}}
		s.mirrors[cluster] = m
		s.chargeMirror(m, by)
	}
	m.users[by]++
	return m, nil
}

// release gives a mirror back. One without users stops. m.mu is not held.
func (s *Store) release(m *mirror, by callerID) {
	s.mu.Lock()
	if m.users[by]--; m.users[by] == 0 {
		delete(m.users, by)
	}
	unused := len(m.users) == 0
	if unused {
		s.forget(m)
	}
	s.settlePayer(m)
	s.mu.Unlock()
	if unused {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stop()
	}
}

// forget makes the next watch begin with another mirror. s.mu is held.
func (s *Store) forget(m *mirror) {
	if s.mirrors[m.cluster] == m {
		delete(s.mirrors, m.cluster)
		s.dischargeMirror(m)
	}
}

// watch adds a watcher. The caller has acquired the mirror for it.
func (m *mirror) watch(ctx context.Context, by callerID, token []byte) (*store.Snapshot, *store.Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost {
		return nil, nil, errLost
	}
	if !m.loaded {
		if err := m.load(ctx); err != nil {
			return nil, nil, err
		}
	}
	if limit := m.store.limits.Watchers; limit > 0 && len(m.watchers) >= limit {
		return nil, nil, store.ErrTooManyWatchers
	}
	// A pin that comes later finds the watcher in m.watchers.
	if token != nil && !m.store.usage.pin(m.cluster).admits(token) {
		return nil, nil, store.ErrOtherToken
	}
	var w *store.Watcher
	w = m.log.Watch(sync.OnceFunc(func() {
		m.mu.Lock()
		delete(m.watchers, w)
		m.mu.Unlock()
		m.store.watchers.Add(-1)
		m.store.release(m, by)
	}))
	m.watchers[w] = token
	m.store.watchers.Add(1)
	if m.snapshot == nil {
		m.snapshot = m.contents.snapshot()
	}
	return m.snapshot, w, nil
}

// endOtherWatches ends the watches of a cluster whose tokens are not its pin.
func (s *Store) endOtherWatches(cluster string) {
	s.mu.Lock()
	m := s.mirrors[cluster]
	s.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	pinned := s.usage.pin(cluster)
	for w, token := range m.watchers {
		if token != nil && !pinned.admits(token) {
			w.End(store.ErrOtherToken)
		}
	}
}

// load reads the cluster and starts to follow it. m.mu is held.
func (m *mirror) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	response, err := m.store.client.Get(ctx, m.prefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("list affiliates in etcd: %w", err)
	}
	m.contents = newContents(m.prefix, response.Kvs)
	m.loaded = true
	following, stop := context.WithCancel(m.store.ctx)
	m.stop = stop
	m.store.background.Go(func() { m.follow(following, response.Header.Revision+1) })
	return nil
}

// follow applies changes from a revision on, until the mirror is stopped. It
// resynchronizes the mirror if etcd ends the watch.
func (m *mirror) follow(ctx context.Context, revision int64) {
	// Without the requirement, a member that has lost its leader would keep the watch
	// open and send nothing.
	responses := m.store.client.Watch(clientv3.WithRequireLeader(ctx), m.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision))
	err := errLost
	for response := range responses {
		if err = response.Err(); err != nil {
			break
		}
		m.apply(response.Events)
	}
	if ctx.Err() == nil {
		m.store.log.Warn("etcd watch lost; resynchronizing", "error", err)
		m.resync()
	}
}

// resync stops the mirror and makes all its watchers start over. They get another
// mirror.
func (m *mirror) resync() {
	m.store.mu.Lock()
	m.store.forget(m)
	m.store.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = true
	m.stop()
	m.log.Resync()
}

// apply applies events and sends the changes to all watchers. The events of one
// revision make one change of each affiliate. etcd sends all of them in one
// response.
func (m *mirror) apply(events []*clientv3.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		var touched []string
		for len(events) > 0 && events[0].Kv.ModRevision == revision {
			id, changed := m.applyOne(events[0])
			if changed && (len(touched) == 0 || touched[len(touched)-1] != id) {
				touched = append(touched, id)
			}
			events = events[1:]
		}
		for _, id := range touched {
			m.snapshot = nil
			e := store.NewDeletion(id)
			if p := m.contents[id]; p != nil {
				e = store.NewUpdate(p.affiliate(id))
			}
			m.log.Push(e)
		}
	}
}

// applyOne applies one event. It returns the affiliate and whether that changed.
func (m *mirror) applyOne(e *clientv3.Event) (id string, changed bool) {
	if e.Type == clientv3.EventTypePut {
		return m.contents.put(m.prefix, e.Kv)
	}
	return m.contents.remove(m.prefix, e.Kv.Key)
}
