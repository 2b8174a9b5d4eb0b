package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// leaseSlots is the number of leases that cover one TTL. Keys that expire in the
	// same slot share a lease, and may live up to a slot longer.
	leaseSlots = 30
	// maxOperations bounds those of a transaction. etcd takes 128 (--max-txn-ops).
	maxOperations = 100
	// maxAttempts bounds how often an update is tried while others change the affiliate.
	maxAttempts = 50
)

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

// Update implements server.Store.
func (s *Store) Update(ctx context.Context, clusterID string, u store.Update) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	cluster := hashOf(clusterID)
	unlock, err := s.writing.lock(ctx, s.affiliateKey(cluster, u.ID))
	if err != nil {
		return err
	}
	defer unlock()
	return s.withLeases(func() error { return s.update(ctx, cluster, u) })
}

// withLeases makes a write under leases, and once more if one of them has ended or was revoked since
// this server granted it.
func (s *Store) withLeases(write func() error) error {
	err := write()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.mu.Lock()
		clear(s.granted)
		s.mu.Unlock()
		err = write()
	}
	return err
}

// update tries an update until nobody else has changed the affiliate meanwhile.
func (s *Store) update(ctx context.Context, cluster string, u store.Update) error {
	for range maxAttempts {
		have, err := s.read(ctx, cluster, u.ID)
		if err != nil {
			return err
		}
		if u.Token != nil && !have.pin.admits(u.Token) {
			return store.ErrOtherToken
		}
		p, err := s.plan(ctx, cluster, u, have)
		if err != nil {
			return err
		}
		written, err := s.write(ctx, cluster, u, have, p)
		if err != nil {
			return err
		}
		if written {
			return p.limit()
		}
	}
	return errors.New("write an affiliate to etcd: others change it all the time")
}

// limit returns the limit that the plan has kept.
func (p plan) limit() error {
	if p.tooMany {
		return store.ErrTooManyEndpoints
	}
	return nil
}

// read returns what etcd has of an affiliate and of the pin, at one revision.
func (s *Store) read(ctx context.Context, cluster, id string) (stored, error) {
	prefix := s.affiliateKey(cluster, id)
	// WithKeysOnly would save the values, but etcd 3.7 then leaves out the leases.
	response, err := s.client.Txn(ctx).Then(clientv3.OpGet(prefix, clientv3.WithPrefix()), clientv3.OpGet(s.pinKey(cluster))).Commit()
	if err != nil {
		return stored{}, fmt.Errorf("read an affiliate from etcd: %w", err)
	}
	have := stored{revision: response.Header.Revision, endpoints: map[string]value{}}
	for _, kv := range response.Responses[0].GetResponseRange().GetKvs() {
		v := valueOf(kv)
		switch key := strings.TrimPrefix(string(kv.Key), prefix); key {
		case dataKey:
			have.data = &v
		case callerKey:
			have.caller = &v
		default:
			have.endpoints[key] = v
		}
	}
	for _, kv := range response.Responses[1].GetResponseRange().GetKvs() {
		have.pin, have.pinLease = parsePin(kv.Value), clientv3.LeaseID(kv.Lease)
	}
	return have, nil
}

func valueOf(kv *mvccpb.KeyValue) value {
	return value{bytes: kv.Value, lease: clientv3.LeaseID(kv.Lease), modified: kv.ModRevision}
}

// plan returns what an update writes, within the limits.
func (s *Store) plan(ctx context.Context, cluster string, u store.Update, have stored) (plan, error) {
	if err := s.checkUpdate(cluster, callerOf(u.Caller)); err != nil {
		return plan{}, err
	}
	lease, err := s.leaseFor(ctx, u.Now, u.Now.Add(u.TTL))
	if err != nil {
		return plan{}, err
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	return newPlan(have, u, lease, s.limits, cluster, &s.usage.totals)
}

// write makes the writes of a plan, and pins the token. It reports false if somebody else has
// changed the affiliate since it was read.
func (s *Store) write(ctx context.Context, cluster string, u store.Update, have stored, p plan) (bool, error) {
	prefix := s.affiliateKey(cluster, u.ID)
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", have.revision+1)}
	for key, modified := range p.relied {
		if len(conditions) < maxOperations {
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(prefix+key), "=", modified))
		}
	}
	var operations []clientv3.Op
	if u.Token != nil {
		condition, puts, err := s.usePin(ctx, cluster, u, have)
		if err != nil {
			return false, err
		}
		conditions, operations = append(conditions, condition), append(operations, puts...)
	}
	for _, put := range p.puts {
		operations = append(operations, clientv3.OpPut(prefix+put.key, put.value, clientv3.WithLease(put.lease)))
	}
	if p.victim != "" {
		victim := s.affiliateKey(cluster, p.victim)
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(victim+dataKey), "=", 0))
		operations = append(operations, clientv3.OpDelete(victim, clientv3.WithPrefix()))
	}
	for _, key := range p.deletes {
		operations = append(operations, clientv3.OpDelete(prefix+key))
	}
	return s.commit(ctx, conditions, operations)
}

// usePin returns the condition that the token is the pin or there is none, and what makes it the
// pin or extends its life.
func (s *Store) usePin(ctx context.Context, cluster string, u store.Update, have stored) (clientv3.Cmp, []clientv3.Op, error) {
	key := s.pinKey(cluster)
	condition, used := clientv3.Compare(clientv3.CreateRevision(key), "!=", 0), have.pin
	if used.hash == "" {
		condition, used = clientv3.Compare(clientv3.CreateRevision(key), "=", 0), pin{hash: string(u.Token), created: u.Now}
	}
	lease, err := s.leaseFor(ctx, u.Now, used.expires(u.Now, u.TTL))
	if err != nil || lease <= have.pinLease {
		return condition, nil, err
	}
	return condition, []clientv3.Op{clientv3.OpPut(key, used.encode(), clientv3.WithLease(lease))}, nil
}

// commit makes operations if conditions hold, and reports whether they did. It returns once the
// usage has them. Operations beyond maxOperations follow in further transactions.
func (s *Store) commit(ctx context.Context, conditions []clientv3.Cmp, operations []clientv3.Op) (bool, error) {
	if len(operations) == 0 {
		return true, nil
	}
	var revision int64
	for chunk := range slices.Chunk(operations, maxOperations) {
		response, err := s.client.Txn(ctx).If(conditions...).Then(chunk...).Commit()
		if err != nil {
			s.doubtReadiness()
			return false, fmt.Errorf("write an affiliate to etcd: %w%s", err, remedyOf(err))
		}
		if !response.Succeeded {
			return false, nil
		}
		revision, conditions = response.Header.Revision, nil
	}
	s.usage.await(ctx.Done(), revision)
	return true, nil
}

// Delete implements server.Store.
func (s *Store) Delete(ctx context.Context, clusterID, id string) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	response, err := s.client.Delete(ctx, s.affiliateKey(hashOf(clusterID), id), clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("delete an affiliate from etcd: %w%s", err, remedyOf(err))
	}
	if response.Deleted > 0 {
		s.usage.await(ctx.Done(), response.Header.Revision)
	}
	return nil
}

// sweep removes the endpoints of an affiliate whose data expired at a revision, unless somebody
// has written to it since. Every server does so. Endpoints that remain expire with their leases.
func (s *Store) sweep(cluster, id string, revision int64) {
	ctx, cancel := context.WithTimeout(s.ctx, operationTimeout)
	defer cancel()
	prefix := s.affiliateKey(cluster, id)
	_, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", revision)).
		Then(clientv3.OpDelete(prefix, clientv3.WithPrefix())).
		Commit()
	if err != nil && s.ctx.Err() == nil {
		s.log.Debug("removing endpoints of an expired affiliate failed; they expire with their leases", "error", err)
	}
}
