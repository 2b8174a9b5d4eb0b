package etcd

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// pageSize is how many keys are read at once.
	pageSize = 1000
	// firstPause and maxPause are the first and the longest pause between two tries to follow
	// etcd.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// followUsage keeps the usage until the store is closed. It goes on from a revision, and reads all
// again when etcd has ended the watch.
func (s *Store) followUsage(revision int64) {
	loaded := true
	notify := func(err error, wait time.Duration) {
		s.log.Warn("etcd watch of all clusters lost; reading them again", "error", err, "retry_in", wait.String())
	}
	// The error is that the store is closed.
	_ = retry.Do(s.ctx, retry.New(firstPause, maxPause), notify, func(ctx context.Context) (err error) {
		if !loaded {
			if revision, err = s.loadUsage(ctx); err != nil {
				return err
			}
		}
		loaded = false
		return s.watchUsage(revision)
	})
}

// loadUsage reads all that the servers have written, and returns its revision.
func (s *Store) loadUsage(ctx context.Context) (revision int64, err error) {
	t := newTotals()
	for from := s.prefix; from != ""; {
		response, err := s.readPage(ctx, from, revision)
		if err != nil {
			return 0, fmt.Errorf("read from etcd what there is: %w", err)
		}
		revision = response.Header.Revision
		for _, kv := range response.Kvs {
			t.put(strings.TrimPrefix(string(kv.Key), s.prefix), kv, true)
		}
		if from = ""; response.More {
			from = string(response.Kvs[len(response.Kvs)-1].Key) + "\x00"
		}
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	s.usage.totals, s.usage.following = t, true
	s.usage.advance(revision)
	return revision, nil
}

// readPage reads some keys, as of a revision, or 0 for now.
func (s *Store) readPage(ctx context.Context, from string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	options := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.prefix)), clientv3.WithLimit(pageSize), clientv3.WithRev(revision)}
	response, err := s.client.Get(ctx, from, options...)
	if err == nil && revision != 0 {
		response.Header.Revision = revision // that of the answer is of now
	}
	return response, err
}

// watchUsage applies what is written after a revision, until etcd ends the watch, or the store
// loses its connection.
func (s *Store) watchUsage(revision int64) error {
	ctx, stop := context.WithCancel(clientv3.WithRequireLeader(s.ctx))
	defer stop()
	s.mu.Lock()
	s.restartUsage = stop
	s.mu.Unlock()
	err := errLost
	for response := range s.client.Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
		if err = response.Err(); err != nil {
			break
		}
		s.applyUsage(response)
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	s.usage.following = false
	s.usage.advance(s.usage.revision)
	return err
}

// orphan is an affiliate without data.
type orphan struct {
	cluster, id string
	revision    int64
}

// applyUsage applies the events of a response. It ends the watches whose tokens are not those
// that were pinned, and removes what is left of affiliates that have expired.
func (s *Store) applyUsage(response clientv3.WatchResponse) {
	var orphans []orphan
	var pinned []string
	s.usage.mu.Lock()
	for _, e := range response.Events {
		key := strings.TrimPrefix(string(e.Kv.Key), s.prefix)
		if e.Type == clientv3.EventTypePut {
			s.usage.put(key, e.Kv, e.IsCreate())
			if cluster, isPin := strings.CutPrefix(key, pinsKey); isPin && e.IsCreate() {
				pinned = append(pinned, cluster)
			}
		} else if cluster, id, orphaned := s.usage.remove(key); orphaned {
			orphans = append(orphans, orphan{cluster, id, e.Kv.ModRevision})
		}
	}
	var left []orphan
	for _, o := range orphans {
		if c := s.usage.clusters[o.cluster]; c != nil && c.entries[o.id] != nil && !c.entries[o.id].hasData {
			left = append(left, o)
		}
	}
	// The header may be ahead of the events.
	if n := len(response.Events); n > 0 {
		s.usage.advance(response.Events[n-1].Kv.ModRevision)
	}
	s.usage.mu.Unlock()
	for _, cluster := range pinned {
		s.endOtherWatches(cluster)
	}
	for _, o := range left {
		s.background.Go(func() { s.sweep(o.cluster, o.id, o.revision) })
	}
}
