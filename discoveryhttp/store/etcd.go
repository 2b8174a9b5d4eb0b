package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
)

// Etcd keeps affiliates in etcd, for several servers at once: what one writes
// reaches the watchers of all.
//
// The data of an affiliate is one key, each of its endpoints another, each with a
// lease that is its expiry:
//
//	PREFIX c/CLUSTER/AFFILIATE/d = the data
//	PREFIX c/CLUSTER/AFFILIATE/e/ENDPOINT = nothing
//	PREFIX p/CLUSTER = the pin
//
// CLUSTER is the hash of its ID, AFFILIATE and ENDPOINT are in hexadecimal. A
// server follows a cluster with one watch of etcd (a mirror), however many watch
// it there. Limits are checked before writing, so that servers that write at the
// same moment may exceed them by a few.
type Etcd struct {
	client *clientv3.Client
	kv     clientv3.KV
	watch  clientv3.Watcher
	limits Limits
	log    *slog.Logger
	// leaseBase is the upper half of the IDs of our leases.
	leaseBase int64

	mu      sync.Mutex
	mirrors map[string]*mirror
	// leases are those that were granted, by their end in seconds since 1970.
	leases map[int64]bool
	pins   map[string]pin
	// following are the goroutines of mirrors.
	following sync.WaitGroup
}

// EtcdOptions say where etcd is.
type EtcdOptions struct {
	Endpoints []string
	// TLS is nil for http endpoints.
	TLS    *tls.Config
	Prefix string
	Limits Limits
	Log    *slog.Logger
}

const (
	// etcdTimeout bounds one operation.
	etcdTimeout = 5 * time.Second
	// dialTimeout and the keepalives find a member that is gone.
	dialTimeout      = 3 * time.Second
	keepaliveTime    = 2 * time.Second
	keepaliveTimeout = 2 * time.Second
	// leaseSlots is how many leases cover one TTL: keys whose lives end in the same
	// slot share a lease, and live up to a slot longer.
	leaseSlots = 30
	// pinCached is how long a server goes by a pin that it has read.
	pinCached = time.Minute
)

// OpenEtcd connects to etcd and tries it.
func OpenEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.Endpoints,
		TLS:                  o.TLS,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepaliveTime,
		DialKeepAliveTimeout: keepaliveTimeout,
		Logger:               zap.NewNop(), // what matters is in the errors
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	sum := sha256.Sum256([]byte(o.Prefix))
	s := &Etcd{
		client:    client,
		kv:        namespace.NewKV(client.KV, o.Prefix),
		watch:     namespace.NewWatcher(client.Watcher, o.Prefix),
		limits:    o.Limits,
		log:       o.Log,
		leaseBase: int64(binary.BigEndian.Uint32(sum[:])>>1) << 32,
		mirrors:   map[string]*mirror{},
		leases:    map[int64]bool{},
		pins:      map[string]pin{},
	}
	if err := s.Ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach etcd at %s: %w", strings.Join(o.Endpoints, ", "), err), s.Close())
	}
	return s, nil
}

// clusterKey is the prefix of all keys of a cluster.
func clusterKey(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return "c/" + hex.EncodeToString(sum[:]) + "/"
}

// affiliateKey is the prefix of all keys of an affiliate.
func affiliateKey(clusterID, id string) string {
	return clusterKey(clusterID) + hex.EncodeToString([]byte(id)) + "/"
}

const (
	dataKey     = "d"
	endpointKey = "e/"
)

// leaseFor is the lease of what ends at a time: its ID tells its end, so that all
// servers share it, and the later of two is the larger.
func (s *Etcd) leaseFor(ctx context.Context, now, expires time.Time) (clientv3.LeaseID, error) {
	slot := max(int64(expires.Sub(now).Seconds())/leaseSlots, 1)
	end := (expires.Unix()/slot + 1) * slot
	id := clientv3.LeaseID(s.leaseBase | end)
	s.mu.Lock()
	granted := s.leases[end]
	s.mu.Unlock()
	if granted {
		return id, nil
	}
	_, err := clientv3.RetryLeaseClient(s.client).LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: int64(id), TTL: end - now.Unix()})
	// A lease that another server has granted is as good.
	if err := rpctypes.Error(err); err != nil && !errors.Is(err, rpctypes.ErrLeaseExist) {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[end] = true
	return id, nil
}

// known is what etcd has of an affiliate: the leases of its keys.
type known struct {
	data      bool
	dataLease clientv3.LeaseID
	endpoints map[string]clientv3.LeaseID
}

func (s *Etcd) known(ctx context.Context, prefix string) (known, error) {
	k := known{endpoints: map[string]clientv3.LeaseID{}}
	// Asked for keys alone, etcd 3.7 leaves out their leases.
	response, err := s.kv.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return k, err
	}
	for _, kv := range response.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix)
		if key == dataKey {
			k.data, k.dataLease = true, clientv3.LeaseID(kv.Lease)
		} else {
			k.endpoints[key] = clientv3.LeaseID(kv.Lease)
		}
	}
	return k, nil
}

// Update implements server.Store.
func (s *Etcd) Update(ctx context.Context, clusterID string, u Update) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	err := s.update(ctx, clusterID, u)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		// It ended, or was revoked, since it was granted.
		s.mu.Lock()
		clear(s.leases)
		s.mu.Unlock()
		err = s.update(ctx, clusterID, u)
	}
	return err
}

func (s *Etcd) update(ctx context.Context, clusterID string, u Update) error {
	prefix := affiliateKey(clusterID, u.ID)
	have, err := s.known(ctx, prefix)
	if err != nil {
		return err
	}
	if !have.data && len(have.endpoints) == 0 {
		if err := s.hasRoom(ctx, clusterID); err != nil {
			return err
		}
	}
	lease, err := s.leaseFor(ctx, u.Now, u.Now.Add(u.TTL))
	if err != nil {
		return err
	}
	var puts []clientv3.Op
	if u.Data != nil {
		puts = append(puts, clientv3.OpPut(prefix+dataKey, string(u.Data), clientv3.WithLease(max(lease, have.dataLease))))
	}
	for _, endpoint := range u.Endpoints {
		key := endpointKey + hex.EncodeToString(endpoint)
		before, exists := have.endpoints[key]
		have.endpoints[key] = max(before, lease)
		if !exists || before < lease {
			puts = append(puts, clientv3.OpPut(prefix+key, "", clientv3.WithLease(lease)))
		}
	}
	if s.limits.Endpoints > 0 && len(have.endpoints) > s.limits.Endpoints {
		return ErrTooManyEndpoints
	}
	if len(puts) == 0 {
		return nil
	}
	_, err = s.kv.Txn(ctx).Then(puts...).Commit()
	return err
}

// hasRoom tells whether a cluster may have an affiliate more.
func (s *Etcd) hasRoom(ctx context.Context, clusterID string) error {
	if s.limits.Affiliates <= 0 {
		return nil
	}
	response, err := s.kv.Get(ctx, clusterKey(clusterID), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	if len(newContents(clusterKey(clusterID), response.Kvs)) >= s.limits.Affiliates {
		return ErrTooManyAffiliates
	}
	return nil
}

// Delete implements server.Store.
func (s *Etcd) Delete(ctx context.Context, clusterID, id string) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	_, err := s.kv.Delete(ctx, affiliateKey(clusterID, id), clientv3.WithPrefix())
	return err
}

// List implements server.Store.
func (s *Etcd) List(ctx context.Context, clusterID string) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	response, err := s.kv.Get(ctx, clusterKey(clusterID), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	return newContents(clusterKey(clusterID), response.Kvs).list(), nil
}

// Pin implements server.Store.
func (s *Etcd) Pin(ctx context.Context, clusterID string, hash []byte, now time.Time) (bool, error) {
	s.mu.Lock()
	p := s.pins[clusterID]
	s.mu.Unlock()
	if p.hash == nil || now.UnixMilli()-p.used > pinCached.Milliseconds() {
		var err error
		if p.hash, err = s.pinned(ctx, clusterID, hash, now); err != nil {
			return false, err
		}
		p.used = now.UnixMilli()
		s.mu.Lock()
		s.pins[clusterID] = p
		s.mu.Unlock()
	}
	return subtle.ConstantTimeCompare(p.hash, hash) == 1, nil
}

// pinned reads the pin of a cluster, or makes hash its pin. The pin's life is
// prolonged by those who hold it.
func (s *Etcd) pinned(ctx context.Context, clusterID string, hash []byte, now time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	lease, err := s.leaseFor(ctx, now, now.Add(PinLifetime))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(clusterID))
	key := "p/" + hex.EncodeToString(sum[:])
	response, err := s.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(hash), clientv3.WithLease(lease))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil || response.Succeeded {
		return hash, err
	}
	kvs := response.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return nil, errors.New("the pin went while it was read")
	}
	if bytes.Equal(kvs[0].Value, hash) && clientv3.LeaseID(kvs[0].Lease) < lease {
		if _, err := s.kv.Put(ctx, key, string(hash), clientv3.WithLease(lease)); err != nil {
			return nil, err
		}
	}
	return kvs[0].Value, nil
}

// Expire implements server.Store. What expires is etcd's to remove; here, what is
// remembered of leases and pins is.
func (s *Etcd) Expire(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := range s.leases {
		if end <= now.Unix() {
			delete(s.leases, end)
		}
	}
	for id, p := range s.pins {
		if now.UnixMilli()-p.used > pinCached.Milliseconds() {
			delete(s.pins, id)
		}
	}
	return nil
}

// Stats implements server.Store. It counts the clusters that are watched here.
func (s *Etcd) Stats() Stats {
	s.mu.Lock()
	mirrors := make([]*mirror, 0, len(s.mirrors))
	for _, m := range s.mirrors {
		mirrors = append(mirrors, m)
	}
	s.mu.Unlock()
	stats := Stats{Clusters: len(mirrors)}
	for _, m := range mirrors {
		m.mu.Lock()
		stats.Affiliates += len(m.contents)
		stats.Watchers += len(m.watchers)
		m.mu.Unlock()
	}
	return stats
}

// Ready implements server.Store: it reads a key that is not there.
func (s *Etcd) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	_, err := s.kv.Get(ctx, "ready")
	return err
}

// Close implements server.Store.
func (s *Etcd) Close() error {
	err := s.client.Close()
	s.following.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // the client's own, at its end
	}
	return err
}

// contents are the affiliates of a cluster by their IDs.
type contents map[string]*parts

// parts are an affiliate's data, nil if there is none, and its endpoints.
type parts struct {
	data      []byte
	endpoints [][]byte
}

func (p *parts) affiliate(id string) Affiliate { return newAffiliate(id, p.data, p.endpoints) }

// list is all affiliates.
func (c contents) list() *Snapshot {
	all := make([]Affiliate, 0, len(c))
	for id, p := range c {
		all = append(all, p.affiliate(id))
	}
	return newSnapshot(all)
}

// at is the place of a key in contents: an affiliate, and one of its endpoints or
// nil for its data. It is not ok for a key that is none of ours.
func at(prefix string, key []byte) (id string, endpoint []byte, ok bool) {
	affiliate, rest, found := strings.Cut(strings.TrimPrefix(string(key), prefix), "/")
	raw, err := hex.DecodeString(affiliate)
	if err != nil || !found {
		return "", nil, false
	}
	if rest == dataKey {
		return string(raw), nil, true
	}
	text, isEndpoint := strings.CutPrefix(rest, endpointKey)
	endpoint, err = hex.DecodeString(text)
	return string(raw), endpoint, isEndpoint && err == nil && len(endpoint) > 0
}

// put takes a key into contents, and tells which affiliate that changed, if any.
func (c contents) put(prefix string, kv *mvccpb.KeyValue) (id string, changed bool) {
	id, endpoint, ok := at(prefix, kv.Key)
	if !ok {
		return id, false
	}
	p := c[id]
	if p == nil {
		p = &parts{}
		c[id] = p
	}
	switch {
	case endpoint == nil && (p.data == nil || !bytes.Equal(p.data, kv.Value)):
		p.data = append([]byte{}, kv.Value...)
	case endpoint != nil && !slices.ContainsFunc(p.endpoints, func(e []byte) bool { return bytes.Equal(e, endpoint) }):
		p.endpoints = append(slices.Clip(p.endpoints), endpoint)
	default:
		return id, false
	}
	return id, true
}

// remove takes a key out of contents. An affiliate goes with its data, whatever
// endpoints others have added.
func (c contents) remove(prefix string, key []byte) (id string, changed bool) {
	id, endpoint, ok := at(prefix, key)
	p := c[id]
	if !ok || p == nil {
		return id, false
	}
	if endpoint != nil {
		p.endpoints = slices.DeleteFunc(slices.Clone(p.endpoints), func(e []byte) bool { return bytes.Equal(e, endpoint) })
	}
	if endpoint == nil || p.data == nil && len(p.endpoints) == 0 {
		delete(c, id)
	}
	return id, true
}

// newContents are the affiliates that keys make.
func newContents(prefix string, kvs []*mvccpb.KeyValue) contents {
	c := contents{}
	for _, kv := range kvs {
		c.put(prefix, kv)
	}
	return c
}
