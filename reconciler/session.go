package reconciler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/spanmesh/span/schema"
)

const (
	// cacheDelay is how long changes are collected before the cache is written, and cacheRest the
	// least time between two writes, as a multiple of what one took: all machines are written
	// again, and in a large cluster something always changes. maxCacheDelay bounds both.
	cacheDelay    = time.Second
	cacheRest     = 100
	maxCacheDelay = 30 * time.Second
	// cacheInterval is how often the cache is written without a change: it has the times
	// at which machines were last seen.
	cacheInterval = 5 * time.Minute
	// leaveTimeout bounds Registry.Leave.
	leaveTimeout = 3 * time.Second
)

// discoveryKey is what an open registry depends on.
type discoveryKey struct {
	clusterID    string
	secret       schema.Secret
	firewallMark uint32
	settings     any
}

// discoverySession is one open registry.
type discoverySession struct {
	name     string
	key      discoveryKey
	registry Registry
	cache    CacheStore
	log      *slog.Logger

	// stop ends the goroutines of follow; nil if the registry is not followed.
	stop  context.CancelFunc
	group sync.WaitGroup
	// changes has an element when the registry has changed since the cache was written.
	changes chan struct{}
}

// follow runs the registry and keeps its cache, until close.
func (s *discoverySession) follow() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.group.Go(func() { s.registry.Run(ctx) })
	s.group.Go(func() { s.keepCache(ctx) })
}

// markChanged makes keepCache write the cache soon.
func (s *discoverySession) markChanged() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// keepCache writes the cache after changes, at intervals, and when ctx ends.
func (s *discoverySession) keepCache(ctx context.Context) {
	ticker := time.NewTicker(cacheInterval)
	defer ticker.Stop()
	defer s.saveCache()
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changes:
			select {
			case <-ctx.Done():
				return
			case <-time.After(cachePause(took)):
			}
		case <-ticker.C:
		}
		began := time.Now()
		s.saveCache()
		took = time.Since(began)
	}
}

// cachePause returns how long changes are collected, if the last write took some time.
func cachePause(took time.Duration) time.Duration {
	return min(max(cacheDelay, cacheRest*took), maxCacheDelay)
}

// saveCache writes the cache. The mesh works without it, so a failure is only logged.
func (s *discoverySession) saveCache() {
	data, err := s.registry.Cache()
	if err == nil && data != nil {
		err = s.cache.Save(s.name, s.key.clusterID, data)
	}
	if err != nil {
		s.log.Error("discovery cache not written", "error", err)
	}
}

// close stops following the registry.
func (s *discoverySession) close() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.group.Wait()
}

// leave removes the machine from the registry.
func (s *discoverySession) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	// The next process must know the number of the last publication.
	defer s.saveCache()
	return s.registry.Leave(ctx)
}
