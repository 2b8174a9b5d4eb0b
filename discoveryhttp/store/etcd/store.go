package etcd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
	// backlog counts what is kept of changes.
	backlog *store.Backlog
	log     *slog.Logger
	// leaseBase is the upper half of the IDs of our leases.
	leaseBase int64

	// writing has the affiliates that this server writes to.
	writing *locks
	// usage is what all servers have written.
	usage *usage
	// watchers counts those of all mirrors.
	watchers atomic.Int64

	mu sync.Mutex
	// mirrors are those of the clusters, by their names in keys.
	mirrors map[string]*mirror
	// charged are the mirrors that each caller pays for.
	charged map[callerID]map[*mirror]struct{}
	// granted are the ends of the leases that exist, in seconds since 1970.
	granted map[int64]bool
	// restartUsage makes the usage be read again.
	restartUsage context.CancelFunc
	readiness    readiness
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

const (
	// operationTimeout bounds one operation on etcd.
	operationTimeout = 5 * time.Second
	// writers is the number of affiliates that are written to at once, at most.
	writers = 1024
)

// Open connects to etcd, writes a key to find out whether etcd can be used, and reads what is
// there.
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
		backlog:   store.NewBacklog(o.Limits.Backlog),
		log:       o.Log,
		leaseBase: int64(binary.BigEndian.Uint32(sum[:])>>1) << 32,
		writing:   newLocks(writers),
		usage:     newUsage(),
		mirrors:   map[string]*mirror{},
		charged:   map[callerID]map[*mirror]struct{}{},
		granted:   map[int64]bool{},
		ctx:       life,
		stop:      stop,
	}
	s.background.Go(s.followConnection)
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(unreachable(o.Endpoints, err), s.Close())
	}
	return s, nil
}

// begin checks that etcd can be used, and reads what is there. An etcd without space can still be
// read: the server begins, and is not ready.
func (s *Store) begin(ctx context.Context) error {
	if err := s.Ready(ctx); errors.Is(err, rpctypes.ErrNoSpace) {
		s.log.Error("etcd takes no writes", "error", err)
	} else if err != nil {
		return err
	}
	revision, err := s.loadUsage(ctx)
	if err != nil {
		return err
	}
	s.background.Go(func() { s.followUsage(revision) })
	return nil
}

// unreachable returns the error of Open, with what to do about it if that is known.
func unreachable(endpoints []string, err error) error {
	return fmt.Errorf("connect to etcd at %s: %w%s", strings.Join(endpoints, ", "), err, remedyOf(err))
}

// remedyOf returns what to do about an error of etcd, to be put behind it; "" if that is not known.
func remedyOf(err error) string {
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return ": etcd wants a user and a password"
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return ": grant the user's role readwrite permission on the key prefix"
	case errors.Is(err, rpctypes.ErrNoSpace):
		return ": compact and defragment etcd or raise its --quota-backend-bytes, then run `etcdctl alarm disarm`"
	default:
		return ""
	}
}

// List implements server.Store.
func (s *Store) List(ctx context.Context, clusterID string) (*store.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	prefix := s.clusterKey(hashOf(clusterID))
	response, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("list affiliates in etcd: %w", err)
	}
	return newContents(prefix, response.Kvs).snapshot(), nil
}

// Admit implements server.Store. It asks etcd for a pin that this server does not know yet.
func (s *Store) Admit(ctx context.Context, clusterID string, token []byte, _ time.Time) (bool, error) {
	cluster := hashOf(clusterID)
	if p := s.usage.pin(cluster); p.hash != "" {
		return p.admits(token), nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	response, err := s.client.Get(ctx, s.pinKey(cluster))
	if err != nil {
		return false, fmt.Errorf("read a pin from etcd: %w", err)
	}
	return len(response.Kvs) == 0 || parsePin(response.Kvs[0].Value).admits(token), nil
}

// Expire implements server.Store. It removes ended leases from this server's memory. etcd
// itself removes keys whose leases have ended.
func (s *Store) Expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := range s.granted {
		if end <= now.Unix() {
			delete(s.granted, end)
		}
	}
	return nil
}

// Stats implements server.Store. It counts the clusters and affiliates that are in etcd, and
// the watchers of this server.
func (s *Store) Stats() store.Stats {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	return store.Stats{
		Kind: "etcd", Clusters: len(s.usage.clusters), Affiliates: s.usage.affiliates, Endpoints: s.usage.endpoints,
		Watchers: int(s.watchers.Load()), Bytes: s.usage.bytes, Backlog: s.backlog.Bytes(),
		Invitations: len(s.usage.invitations),
	}
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

// readiness is the answer of Ready that is given for a while.
type readiness struct {
	until time.Time
	err   error
}

// readyTime is how long an answer of Ready is given: probes must not write to etcd as often as
// somebody likes.
const readyTime = 3 * time.Second

// Ready implements server.Store. It writes a key: an etcd without space, and one that lets the
// user only read, answer all the same.
func (s *Store) Ready(ctx context.Context) error {
	unlock, err := s.writing.lock(ctx, readyKey)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	last := s.readiness
	s.mu.Unlock()
	if time.Now().Before(last.until) {
		return last.err
	}
	attempt, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if _, err = s.client.Put(attempt, s.prefix+readyKey, ""); err != nil {
		err = fmt.Errorf("write a key: %w%s", err, remedyOf(err))
	}
	if ctx.Err() == nil { // an answer of etcd, or its silence
		s.mu.Lock()
		s.readiness = readiness{time.Now().Add(readyTime), err}
		s.mu.Unlock()
	}
	return err
}

// doubtReadiness makes the next Ready write a key.
func (s *Store) doubtReadiness() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readiness = readiness{}
}

// Close ends all watches and the connections to etcd.
func (s *Store) Close() error {
	s.stop()
	s.background.Wait()
	return s.client.Close()
}
