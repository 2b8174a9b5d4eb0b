package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

const (
	// cacheSettle is how long news wait to be written together.
	cacheSettle = time.Second
	// cacheInterval is how often the times at which affiliates were last seen
	// are written when there is no news.
	cacheInterval = 5 * time.Minute
	// leaveTimeout bounds the last word to discovery.
	leaveTimeout = 3 * time.Second
)

// seat is the clients of discovery at work, with their cache on disk. It implements
// reconciler.Registry.
type seat struct {
	asked     *registries
	dir       *statedir.Dir
	clusterID string
	log       *slog.Logger

	news  chan struct{}
	stop  context.CancelFunc
	group *errgroup.Group
	// known is what they knew when they were last asked: to list it all again
	// for each pass would cost more than the pass.
	known reconciler.Knowledge
}

var _ reconciler.Registry = (*seat)(nil)

// discover implements reconciler.Discover.
func (p *parts) discover(config *schema.Config, changed func()) (reconciler.Registry, error) {
	s := &seat{dir: p.dir, clusterID: config.Cluster.ID, log: p.log, news: make(chan struct{}, 1)}
	asked, err := p.registries(config, func() {
		select {
		case s.news <- struct{}{}:
		default:
		}
		changed()
	})
	if err != nil {
		return nil, err
	}
	s.asked = asked
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.group = stop, new(errgroup.Group)
	s.group.Go(func() error { asked.service.Run(ctx); return nil })
	if asked.nodes != nil {
		s.group.Go(func() error { asked.nodes.Run(ctx); return nil })
	}
	s.group.Go(func() error { s.keepCache(ctx); return nil })
	return s, nil
}

// keepCache writes what is known as it changes, and once more at the end.
func (s *seat) keepCache(ctx context.Context) {
	ticker := time.NewTicker(cacheInterval)
	defer ticker.Stop()
	defer s.save()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.news:
			select {
			case <-ctx.Done():
				return
			case <-time.After(cacheSettle):
			}
		case <-ticker.C:
		}
		s.save()
	}
}

func (s *seat) save() {
	if err := s.dir.Remember(s.clusterID, s.asked.remembered()); err != nil {
		s.log.Error("what discovery knows could not be written down", "error", err)
	}
}

// Known implements reconciler.Registry.
func (s *seat) Known() reconciler.Knowledge {
	if s.known.Version != s.asked.version() {
		s.known = s.asked.known()
	}
	return s.known
}

// NetworkChanged implements reconciler.Registry.
func (s *seat) NetworkChanged() { s.asked.reconnect() }

// Announce implements reconciler.Registry.
func (s *seat) Announce(ctx context.Context, local mesh.Affiliate) error {
	return s.asked.announce(ctx, local)
}

// Publish implements reconciler.Registry.
func (s *seat) Publish(local mesh.Affiliate, harvested map[string][]netip.AddrPort) {
	s.asked.publish(local, harvested)
}

// Close implements reconciler.Registry.
func (s *seat) Close(leave bool) {
	s.stop()
	_ = s.group.Wait() // its functions return no errors
	if !leave {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := s.asked.leave(ctx); err != nil {
		s.log.Warn("discovery could not be told that this machine leaves; it forgets by itself",
			"after", discoveryhttp.TTL.String(), "error", err)
	}
}
