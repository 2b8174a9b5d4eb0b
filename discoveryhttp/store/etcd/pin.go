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

// pinCached is how long a server uses a pin that it has read.
const pinCached = time.Minute

// cachedPin is a pin and the time at which it was read.
type cachedPin struct {
	hash []byte
	read time.Time
}

// Pin implements server.Store.
func (s *Store) Pin(ctx context.Context, clusterID string, hash []byte, now time.Time) (bool, error) {
	s.mu.Lock()
	p := s.pins[clusterID]
	s.mu.Unlock()
	if p.hash == nil || now.Sub(p.read) > pinCached {
		pinned, err := s.pin(ctx, clusterID, hash, now)
		if err != nil {
			return false, err
		}
		p = cachedPin{hash: pinned, read: now}
		s.mu.Lock()
		s.pins[clusterID] = p
		s.mu.Unlock()
	}
	return subtle.ConstantTimeCompare(p.hash, hash) == 1, nil
}

// pin returns the pin of a cluster, after it has made hash the pin of a cluster
// without one. It extends the life of a pin that equals hash.
func (s *Store) pin(ctx context.Context, clusterID string, hash []byte, now time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	lease, err := s.leaseFor(ctx, now, now.Add(store.PinLifetime))
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
