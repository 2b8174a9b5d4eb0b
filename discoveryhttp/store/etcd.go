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

	"github.com/spanmesh/span/discoveryhttp/etcd"
	"github.com/spanmesh/span/discoveryhttp/etcdpb"
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
	client *etcd.Client
	prefix string
	limits Limits
	log    *slog.Logger
	// leaseBase is the upper half of the IDs of our leases.
	leaseBase int64

	mu      sync.Mutex
	mirrors map[string]*mirror
	// leases are those that were granted, by their end in seconds since 1970.
	leases map[int64]bool
	pins   map[string]pin
	// following are the goroutines of mirrors, which end with ctx.
	following sync.WaitGroup
	ctx       context.Context //nolint:containedctx // the store's life
	stop      context.CancelFunc
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
	// leaseSlots is how many leases cover one TTL: keys whose lives end in the same
	// slot share a lease, and live up to a slot longer.
	leaseSlots = 30
	// pinCached is how long a server goes by a pin that it has read.
	pinCached = time.Minute
)

// OpenEtcd connects to etcd and tries it.
func OpenEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	sum := sha256.Sum256([]byte(o.Prefix))
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Etcd{
		client:    etcd.New(o.Endpoints, o.TLS),
		prefix:    o.Prefix,
		limits:    o.Limits,
		log:       o.Log,
		leaseBase: int64(binary.BigEndian.Uint32(sum[:])>>1) << 32,
		ctx:       life,
		stop:      stop,
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
func (s *Etcd) clusterKey(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return s.prefix + "c/" + hex.EncodeToString(sum[:]) + "/"
}

// affiliateKey is the prefix of all keys of an affiliate.
func (s *Etcd) affiliateKey(clusterID, id string) string {
	return s.clusterKey(clusterID) + hex.EncodeToString([]byte(id)) + "/"
}

const (
	dataKey     = "d"
	endpointKey = "e/"
)

// leaseFor is the lease of what ends at a time: its ID tells its end, so that all
// servers share it, and the later of two is the larger.
func (s *Etcd) leaseFor(ctx context.Context, now, expires time.Time) (int64, error) {
	slot := max(int64(expires.Sub(now).Seconds())/leaseSlots, 1)
	end := (expires.Unix()/slot + 1) * slot
	id := s.leaseBase | end
	s.mu.Lock()
	granted := s.leases[end]
	s.mu.Unlock()
	if granted {
		return id, nil
	}
	// A lease that another server has granted is as good.
	if err := s.client.Grant(ctx, id, end-now.Unix()); err != nil {
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
	dataLease int64
	endpoints map[string]int64
}

func (s *Etcd) known(ctx context.Context, prefix string) (known, error) {
	k := known{endpoints: map[string]int64{}}
	// Asked for keys alone, etcd 3.7 leaves out their leases.
	response, err := s.client.Range(ctx, below(prefix))
	if err != nil {
		return k, err
	}
	for _, kv := range response.GetKvs() {
		key := strings.TrimPrefix(string(kv.GetKey()), prefix)
		if key == dataKey {
			k.data, k.dataLease = true, kv.GetLease()
		} else {
			k.endpoints[key] = kv.GetLease()
		}
	}
	return k, nil
}

// Update implements server.Store.
func (s *Etcd) Update(ctx context.Context, clusterID string, u Update) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	err := s.update(ctx, clusterID, u)
	if etcd.IsLeaseNotFound(err) {
		// It ended, or was revoked, since it was granted.
		s.mu.Lock()
		clear(s.leases)
		s.mu.Unlock()
		err = s.update(ctx, clusterID, u)
	}
	return err
}

func (s *Etcd) update(ctx context.Context, clusterID string, u Update) error {
	prefix := s.affiliateKey(clusterID, u.ID)
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
	var puts []*etcdpb.RequestOp
	if u.Data != nil {
		puts = append(puts, put(prefix+dataKey, u.Data, max(lease, have.dataLease)))
	}
	for _, endpoint := range u.Endpoints {
		key := endpointKey + hex.EncodeToString(endpoint)
		before, exists := have.endpoints[key]
		have.endpoints[key] = max(before, lease)
		if !exists || before < lease {
			puts = append(puts, put(prefix+key, nil, lease))
		}
	}
	if s.limits.Endpoints > 0 && len(have.endpoints) > s.limits.Endpoints {
		return ErrTooManyEndpoints
	}
	if len(puts) == 0 {
		return nil
	}
	_, err = s.client.Txn(ctx, &etcdpb.TxnRequest{Success: puts})
	return err
}

// hasRoom tells whether a cluster may have an affiliate more.
func (s *Etcd) hasRoom(ctx context.Context, clusterID string) error {
	if s.limits.Affiliates <= 0 {
		return nil
	}
	keys := below(s.clusterKey(clusterID))
	keys.KeysOnly = true
	response, err := s.client.Range(ctx, keys)
	if err != nil {
		return err
	}
	if len(newContents(s.clusterKey(clusterID), response.GetKvs())) >= s.limits.Affiliates {
		return ErrTooManyAffiliates
	}
	return nil
}

// Delete implements server.Store.
func (s *Etcd) Delete(ctx context.Context, clusterID, id string) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	_, err := s.client.Txn(ctx, &etcdpb.TxnRequest{Success: []*etcdpb.RequestOp{removal(s.affiliateKey(clusterID, id))}})
	return err
}

// List implements server.Store.
func (s *Etcd) List(ctx context.Context, clusterID string) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	response, err := s.client.Range(ctx, below(s.clusterKey(clusterID)))
	if err != nil {
		return nil, err
	}
	return newContents(s.clusterKey(clusterID), response.GetKvs()).list(), nil
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
	key := s.prefix + "p/" + hex.EncodeToString(sum[:])
	pin := []*etcdpb.RequestOp{put(key, hash, lease)}
	read := &etcdpb.RequestOp{Request: &etcdpb.RequestOp_RequestRange{RequestRange: &etcdpb.RangeRequest{Key: []byte(key)}}}
	response, err := s.client.Txn(ctx, &etcdpb.TxnRequest{
		Compare: []*etcdpb.Compare{missing(key)}, Success: pin, Failure: []*etcdpb.RequestOp{read},
	})
	if err != nil || response.GetSucceeded() {
		return hash, err
	}
	if len(response.GetResponses()) == 0 || len(response.GetResponses()[0].GetResponseRange().GetKvs()) == 0 {
		return nil, errors.New("the pin went while it was read")
	}
	found := response.GetResponses()[0].GetResponseRange().GetKvs()[0]
	if bytes.Equal(found.GetValue(), hash) && found.GetLease() < lease {
		if _, err := s.client.Txn(ctx, &etcdpb.TxnRequest{Success: pin}); err != nil {
			return nil, err
		}
	}
	return found.GetValue(), nil
}

// below asks for all keys that begin with prefix.
func below(prefix string) *etcdpb.RangeRequest {
	return &etcdpb.RangeRequest{Key: []byte(prefix), RangeEnd: etcd.PrefixEnd(prefix)}
}

func put(key string, value []byte, lease int64) *etcdpb.RequestOp {
	return &etcdpb.RequestOp{Request: &etcdpb.RequestOp_RequestPut{
		RequestPut: &etcdpb.PutRequest{Key: []byte(key), Value: value, Lease: lease},
	}}
}

// removal is that of all keys that begin with prefix.
func removal(prefix string) *etcdpb.RequestOp {
	return &etcdpb.RequestOp{Request: &etcdpb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &etcdpb.DeleteRangeRequest{Key: []byte(prefix), RangeEnd: etcd.PrefixEnd(prefix)},
	}}
}

// missing holds while there is no such key.
func missing(key string) *etcdpb.Compare {
	return &etcdpb.Compare{
		Result: etcdpb.Compare_EQUAL, Target: etcdpb.Compare_CREATE, Key: []byte(key),
		TargetUnion: &etcdpb.Compare_CreateRevision{CreateRevision: 0},
	}
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
	_, err := s.client.Range(ctx, &etcdpb.RangeRequest{Key: []byte(s.prefix + "ready")})
	return err
}

// Close implements server.Store.
func (s *Etcd) Close() error {
	s.stop()
	s.following.Wait()
	s.client.Close()
	return nil
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
func (c contents) put(prefix string, kv *etcdpb.KeyValue) (id string, changed bool) {
	id, endpoint, ok := at(prefix, kv.GetKey())
	if !ok {
		return id, false
	}
	p := c[id]
	if p == nil {
		p = &parts{}
		c[id] = p
	}
	switch {
	case endpoint == nil && (p.data == nil || !bytes.Equal(p.data, kv.GetValue())):
		p.data = append([]byte{}, kv.GetValue()...)
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
func newContents(prefix string, kvs []*etcdpb.KeyValue) contents {
	c := contents{}
	for _, kv := range kvs {
		c.put(prefix, kv)
	}
	return c
}
