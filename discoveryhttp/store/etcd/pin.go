package etcd

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// pinLife is how long a pin is kept after its last use.
const pinLife = 30 * 24 * time.Hour

// pinCached is how long a server uses a pin that it has read.
const pinCached = time.Minute

// cachedPin is a pin and the time at which it was read.
type cachedPin struct {
	hash []byte
	read time.Time
}

// Admit implements server.Store.
func (s *Store) Admit(ctx context.Context, clusterID string, token []byte, now time.Time) (bool, error) {
	hash := s.cachedPin(clusterID, now)
	if hash == nil {
		ctx, cancel := context.WithTimeout(ctx, operationTimeout)
		defer cancel()
		response, err := s.client.Get(ctx, s.pinKey(clusterID))
		if err != nil {
			return false, fmt.Errorf("read a pin in etcd: %w", err)
		}
		if len(response.Kvs) == 0 {
			return true, nil
		}
		hash = response.Kvs[0].Value
		s.cachePin(clusterID, hash, now)
	}
	return subtle.ConstantTimeCompare(hash, token) == 1, nil
}

// use makes token the pin of a cluster without one. It returns store.ErrOtherToken if the
// cluster has another.
func (s *Store) use(ctx context.Context, clusterID string, token []byte, now time.Time) error {
	hash := s.cachedPin(clusterID, now)
	if hash == nil {
		var err error
		if hash, err = s.pin(ctx, clusterID, token, now); err != nil {
			return err
		}
		s.cachePin(clusterID, hash, now)
	}
	if subtle.ConstantTimeCompare(hash, token) != 1 {
		return store.ErrOtherToken
	}
	return nil
}

// cachedPin returns a pin that was read not long ago, or nil.
func (s *Store) cachedPin(clusterID string, now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pins[clusterID]; now.Sub(p.read) <= pinCached {
		return p.hash
	}
	return nil
}

func (s *Store) cachePin(clusterID string, hash []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[clusterID] = cachedPin{hash: hash, read: now}
}

// pin returns the pin of a cluster, after it has made hash the pin of a cluster
// without one. It extends the life of a pin that equals hash.
func (s *Store) pin(ctx context.Context, clusterID string, hash []byte, now time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	lease, err := s.leaseFor(ctx, now, now.Add(pinLife))
	if err != nil {
		return nil, err
	}
	key := s.pinKey(clusterID)
	put := clientv3.OpPut(key, string(hash), clientv3.WithLease(lease))
	response, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(put).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return nil, fmt.Errorf("read or write a pin in etcd: %w", err)
	}
	if response.Succeeded {
		return hash, nil
	}
	kvs := response.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return nil, errors.New("read a pin from etcd: no key in the answer")
	}
	found := kvs[0]
	if bytes.Equal(found.Value, hash) && clientv3.LeaseID(found.Lease) < lease {
		if _, err := s.client.Do(ctx, put); err != nil {
			return nil, fmt.Errorf("refresh a pin in etcd: %w", err)
		}
	}
	return found.Value, nil
}
