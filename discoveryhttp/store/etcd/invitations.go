package etcd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// maxInvitations bounds what is read of invitations at once.
const maxInvitations = 100_000

func (s *Store) invitationKey(name store.InvitationName) string {
	return s.prefix + invitationsKey + hex.EncodeToString(name[:])
}

func (s *Store) sealedKey(name store.InvitationName) string {
	return s.prefix + sealedKey + hex.EncodeToString(name[:])
}

// parseInvitation returns the invitation of a key, without what it seals.
func (s *Store) parseInvitation(kv *mvccpb.KeyValue) (*store.Invitation, error) {
	name, err := hex.DecodeString(strings.TrimPrefix(string(kv.Key), s.prefix+invitationsKey))
	if err != nil {
		return nil, fmt.Errorf("read an invitation from etcd: %w", err)
	}
	return store.DecodeInvitation(name, kv.Value)
}

// allInvitations returns the invitations in etcd, without what they seal. Those that cannot be
// decoded are left out: they end with their leases.
func (s *Store) allInvitations(ctx context.Context) ([]*store.Invitation, error) {
	response, err := s.client.Get(ctx, s.prefix+invitationsKey, clientv3.WithPrefix(), clientv3.WithLimit(maxInvitations))
	if err != nil {
		return nil, fmt.Errorf("read invitations from etcd: %w", err)
	}
	all := make([]*store.Invitation, 0, len(response.Kvs))
	for _, kv := range response.Kvs {
		if i, err := s.parseInvitation(kv); err == nil {
			all = append(all, i)
		}
	}
	return all, nil
}

// CreateInvitation implements server.Store.
func (s *Store) CreateInvitation(ctx context.Context, i *store.Invitation) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	kept := *i
	if kept.Caller != "" {
		by := hashedCaller([]byte(kept.Caller))
		kept.Caller = string(by[:])
	}
	all, err := s.allInvitations(ctx)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(all, func(other *store.Invitation) bool { return other.Name == kept.Name })
	if err := s.limits.CheckInvitation(&kept, slices.Values(others)); err != nil {
		return err
	}
	return s.withLeases(func() error { return s.putInvitation(ctx, &kept) })
}

// putInvitation writes an invitation, unless there is another of its name.
func (s *Store) putInvitation(ctx context.Context, i *store.Invitation) error {
	encoded, err := store.EncodeInvitation(i)
	if err != nil {
		return err
	}
	now := i.Created
	record, err := s.leaseFor(ctx, now, i.Forgotten())
	if err != nil {
		return err
	}
	sealed, err := s.leaseFor(ctx, now, i.Expires)
	if err != nil {
		return err
	}
	key := s.invitationKey(i.Name)
	response, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(encoded), clientv3.WithLease(record)),
			clientv3.OpPut(s.sealedKey(i.Name), string(i.Sealed), clientv3.WithLease(sealed))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		s.doubtReadiness()
		return fmt.Errorf("write an invitation to etcd: %w%s", err, remedyOf(err))
	}
	if !response.Succeeded {
		// The transaction is made again if the answer of etcd was lost.
		if kvs := response.Responses[0].GetResponseRange().GetKvs(); len(kvs) == 0 || string(kvs[0].Value) != string(encoded) {
			return store.ErrInvitationExists
		}
	}
	s.usage.await(ctx.Done(), response.Header.Revision)
	return nil
}

// TakeInvitation implements server.Store. Requests of this server for one invitation take turns.
func (s *Store) TakeInvitation(ctx context.Context, name store.InvitationName, request store.RequestID, now time.Time) (*store.Invitation, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	unlock, err := s.writing.lock(ctx, s.invitationKey(name))
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range maxAttempts {
		i, revision, err := s.readInvitation(ctx, name)
		if err != nil {
			return nil, err
		}
		after, err := i.Take(request, now)
		if err != nil {
			return nil, err
		}
		if after.Size != len(after.Sealed) {
			// etcd's clock is ahead of this server's.
			return nil, &store.EndedError{Uses: i.Uses, Expires: i.Expires}
		}
		if after == i {
			return after, nil
		}
		written, err := s.countTake(ctx, after, revision)
		if err != nil || written {
			return after, err
		}
	}
	return nil, errors.New("count an invitation in etcd: others take it all the time")
}

// readInvitation returns an invitation with what it seals, and the revision of its record.
func (s *Store) readInvitation(ctx context.Context, name store.InvitationName) (*store.Invitation, int64, error) {
	response, err := s.client.Txn(ctx).Then(clientv3.OpGet(s.invitationKey(name)), clientv3.OpGet(s.sealedKey(name))).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("read an invitation from etcd: %w", err)
	}
	records := response.Responses[0].GetResponseRange().GetKvs()
	if len(records) == 0 {
		return nil, 0, store.ErrNoInvitation
	}
	i, err := s.parseInvitation(records[0])
	if err != nil {
		return nil, 0, err
	}
	for _, kv := range response.Responses[1].GetResponseRange().GetKvs() {
		i.Sealed = kv.Value
	}
	return i, records[0].ModRevision, nil
}

// countTake writes an invitation that was taken. It reports false if it has changed since a revision.
func (s *Store) countTake(ctx context.Context, i *store.Invitation, revision int64) (bool, error) {
	encoded, err := store.EncodeInvitation(i)
	if err != nil {
		return false, err
	}
	key := s.invitationKey(i.Name)
	response, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, string(encoded), clientv3.WithIgnoreLease())).Commit()
	if err != nil {
		s.doubtReadiness()
		return false, fmt.Errorf("count an invitation in etcd: %w%s", err, remedyOf(err))
	}
	return response.Succeeded, nil
}

// ListInvitations implements server.Store.
func (s *Store) ListInvitations(ctx context.Context, owner store.OwnerHash) ([]*store.Invitation, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	all, err := s.allInvitations(ctx)
	if err != nil {
		return nil, err
	}
	return store.OwnedInvitations(owner, slices.Values(all)), nil
}

// RevokeInvitation implements server.Store.
func (s *Store) RevokeInvitation(ctx context.Context, owner store.OwnerHash, name store.InvitationName) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	i, _, err := s.readInvitation(ctx, name)
	if err != nil {
		return err
	}
	if i.Owner != owner {
		return store.ErrNoInvitation
	}
	// The name is not used again: what is deleted is what was read.
	response, err := s.client.Txn(ctx).Then(clientv3.OpDelete(s.invitationKey(name)), clientv3.OpDelete(s.sealedKey(name))).Commit()
	if err != nil {
		s.doubtReadiness()
		return fmt.Errorf("delete an invitation from etcd: %w%s", err, remedyOf(err))
	}
	s.usage.await(ctx.Done(), response.Header.Revision)
	return nil
}
