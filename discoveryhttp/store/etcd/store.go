package etcd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// Store implements server.Store. Make one with Open.
type Store struct {
	client *clientv3.Client
	prefix string
	limits store.Limits
	log    *slog.Logger
	// leaseBase is the upper half of the IDs of our leases.
	leaseBase int64

	mu      sync.Mutex
	mirrors map[string]*mirror
	// granted are the ends of the leases that exist, in seconds since 1970.
	granted map[int64]bool
	pins    map[string]cachedPin
	// background are goroutines that end with ctx.
	background sync.WaitGroup
	ctx        context.Context //nolint:containedctx // the life of the store
	stop       context.CancelFunc
}

// Options configure a Store.
type Options struct {
	// Endpoints are the URLs of etcd's members, at least one.
	Endpoints []string
	// TLS is nil for http endpoints.
	TLS *tls.Config
	// User and Password authenticate to etcd. Both are empty, or neither.
	User, Password string
	// Prefix begins all keys.
	Prefix string
	Limits store.Limits
	Log    *slog.Logger
}

// operationTimeout bounds one operation on etcd.
const operationTimeout = 5 * time.Second

// Open connects to etcd and reads a key, to find out whether etcd can be used.
func Open(ctx context.Context, o Options) (*Store, error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	// Connecting ends with ctx, although the client outlives it.
	defer context.AfterFunc(ctx, stop)()
	client, err := connect(life, o)
	if err != nil {
		stop()
		return nil, unreachable(o.Endpoints, err)
	}
	sum := sha256.Sum256([]byte(o.Prefix))
	s := &Store{
		client:    client,
		prefix:    o.Prefix,
		limits:    o.Limits,
		log:       o.Log,
		leaseBase: int64(binary.BigEndian.Uint32(sum[:])>>1) << 32,
		mirrors:   map[string]*mirror{},
		granted:   map[int64]bool{},
		pins:      map[string]cachedPin{},
		ctx:       life,
		stop:      stop,
	}
	s.background.Go(s.followConnection)
	if err := s.Ready(ctx); err != nil {
		return nil, errors.Join(unreachable(o.Endpoints, err), s.Close())
	}
	return s, nil
}

// unreachable returns the error of Open, with what to do about it if that is known.
func unreachable(endpoints []string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		hint = ": etcd wants a user and a password"
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		hint = ": grant the user's role readwrite permission on the key prefix"
	}
	return fmt.Errorf("connect to etcd at %s: %w%s", strings.Join(endpoints, ", "), err, hint)
}

// clusterKey returns the prefix of all keys of a cluster.
func (s *Store) clusterKey(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return s.prefix + "c/" + hex.EncodeToString(sum[:]) + "/"
}

// affiliateKey returns the prefix of all keys of an affiliate.
func (s *Store) affiliateKey(clusterID, id string) string {
	return s.clusterKey(clusterID) + hex.EncodeToString([]byte(id)) + "/"
}

// pinKey returns the key of a cluster's pin.
func (s *Store) pinKey(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return s.prefix + "p/" + hex.EncodeToString(sum[:])
}

// The keys of an affiliate, below its prefix.
const (
	dataKey     = "d"
	endpointKey = "e/"
)

// List implements server.Store.
func (s *Store) List(ctx context.Context, clusterID string) (*store.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	prefix := s.clusterKey(clusterID)
	response, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("list affiliates in etcd: %w", err)
	}
	return newContents(prefix, response.Kvs).snapshot(), nil
}

// Expire implements server.Store. It removes ended leases and old pins from this server's
// memory. etcd itself removes keys whose leases have ended.
func (s *Store) Expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := range s.granted {
		if end <= now.Unix() {
			delete(s.granted, end)
		}
	}
	for id, p := range s.pins {
		if now.Sub(p.read) > pinCached {
			delete(s.pins, id)
		}
	}
	return nil
}

// Stats implements server.Store. It counts the clusters that are watched on this
// server.
func (s *Store) Stats() store.Stats {
	mirrors := s.allMirrors()
	stats := store.Stats{Clusters: len(mirrors)}
	for _, m := range mirrors {
		m.mu.Lock()
		stats.Affiliates += len(m.contents)
		stats.Watchers += len(m.watchers)
		m.mu.Unlock()
	}
	return stats
}

func (s *Store) allMirrors() []*mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	mirrors := make([]*mirror, 0, len(s.mirrors))
	for _, m := range s.mirrors {
		mirrors = append(mirrors, m)
	}
	return mirrors
}

// Ready implements server.Store. It reads a key that does not exist.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if _, err := s.client.Get(ctx, s.prefix+"ready"); err != nil {
		return fmt.Errorf("read a key: %w", err)
	}
	return nil
}

// Close ends all watches and the connections to etcd.
func (s *Store) Close() error {
	s.stop()
	s.background.Wait()
	return s.client.Close()
}
