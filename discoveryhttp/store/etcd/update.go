package etcd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// leaseSlots is the number of leases that cover one TTL. Keys that expire in the
// same slot share a lease, and may live up to a slot longer.
const leaseSlots = 30

// leaseFor returns the lease of keys that expire at a time, and grants it if it is
// new. The ID is made from the end, so that all servers share the lease, and the
// later of two leases has the larger ID.
func (s *Store) leaseFor(ctx context.Context, now, expires time.Time) (clientv3.LeaseID, error) {
	slot := max(int64(expires.Sub(now).Seconds())/leaseSlots, 1)
	end := (expires.Unix()/slot + 1) * slot
	id := s.leaseBase | end
	s.mu.Lock()
	granted := s.granted[end]
	s.mu.Unlock()
	if granted {
		return clientv3.LeaseID(id), nil
	}
	// clientv3.Lease.Grant leaves the choice of the ID to etcd.
	_, err := clientv3.RetryLeaseClient(s.client).LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: id, TTL: end - now.Unix()})
	// Another server may have granted it.
	if err = rpctypes.Error(err); err != nil && !errors.Is(err, rpctypes.ErrLeaseExist) {
		return 0, fmt.Errorf("grant a lease in etcd: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted[end] = true
	return clientv3.LeaseID(id), nil
}

// stored is what etcd has of an affiliate: the leases of its keys.
type stored struct {
	hasData   bool
	dataLease clientv3.LeaseID
	// endpoints are the leases of the keys that begin with endpointKey.
	endpoints map[string]clientv3.LeaseID
}

func (s *Store) stored(ctx context.Context, prefix string) (stored, error) {
	have := stored{endpoints: map[string]clientv3.LeaseID{}}
	// WithKeysOnly would save the values, but etcd 3.7 then leaves out the leases.
	response, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return have, fmt.Errorf("read an affiliate from etcd: %w", err)
	}
	for _, kv := range response.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix)
		if key == dataKey {
			have.hasData, have.dataLease = true, clientv3.LeaseID(kv.Lease)
		} else {
			have.endpoints[key] = clientv3.LeaseID(kv.Lease)
		}
	}
	return have, nil
}

// Update implements server.Store.
func (s *Store) Update(ctx context.Context, clusterID string, u store.Update) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if u.Token != nil {
		if err := s.use(ctx, clusterID, u.Token, u.Now); err != nil {
			return err
		}
	}
	err := s.update(ctx, clusterID, u)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		// A lease has ended or was revoked since this server granted it.
		s.mu.Lock()
		clear(s.granted)
		s.mu.Unlock()
		err = s.update(ctx, clusterID, u)
	}
	return err
}

func (s *Store) update(ctx context.Context, clusterID string, u store.Update) error {
	prefix := s.affiliateKey(clusterID, u.ID)
	have, err := s.stored(ctx, prefix)
	if err != nil {
		return err
	}
	if !have.hasData && len(have.endpoints) == 0 {
		if err := s.checkRoom(ctx, clusterID); err != nil {
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
		return store.ErrTooManyEndpoints
	}
	if len(puts) == 0 {
		return nil
	}
	if _, err = s.client.Txn(ctx).Then(puts...).Commit(); err != nil {
		return fmt.Errorf("write an affiliate to etcd: %w", err)
	}
	return nil
}

// checkRoom returns an error if a cluster has reached its limit of affiliates.
func (s *Store) checkRoom(ctx context.Context, clusterID string) error {
	if s.limits.Affiliates <= 0 {
		return nil
	}
	prefix := s.clusterKey(clusterID)
	response, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("count affiliates in etcd: %w", err)
	}
	if len(newContents(prefix, response.Kvs)) >= s.limits.Affiliates {
		return store.ErrTooManyAffiliates
	}
	return nil
}

// Delete implements server.Store.
func (s *Store) Delete(ctx context.Context, clusterID, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if _, err := s.client.Delete(ctx, s.affiliateKey(clusterID, id), clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("delete an affiliate from etcd: %w", err)
	}
	return nil
}

// sweep removes the endpoints that others have added to an affiliate that was
// deleted or has expired. Every server that watches the cluster does so. Endpoints
// that remain expire with their leases.
func (s *Store) sweep(clusterID, id string) {
	ctx, cancel := context.WithTimeout(s.ctx, operationTimeout)
	defer cancel()
	prefix := s.affiliateKey(clusterID, id)
	_, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(prefix+dataKey), "=", 0)).
		Then(clientv3.OpDelete(prefix, clientv3.WithPrefix())).
		Commit()
	if err != nil && s.ctx.Err() == nil {
		s.log.Debug("removing endpoints of a deleted affiliate failed; they expire with their leases", "error", err)
	}
}
