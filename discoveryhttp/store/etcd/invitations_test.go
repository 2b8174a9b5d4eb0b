package etcd_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
	etcdstore "github.com/spanmesh/span/discoveryhttp/store/etcd"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// TestInvitationOnTwoServers has 100 machines ask two servers at once for an invitation for ten.
// Each asks both, as one does whose first answer was lost.
func TestInvitationOnTwoServers(t *testing.T) {
	options := etcdstore.Options{Prefix: newPrefix(t)}
	servers := []*etcdstore.Store{open(t, sharedEtcd(t), options), open(t, sharedEtcd(t), options)}
	storetest.Invite(t, servers[0], storetest.NewInvitation(1, 1, 10))
	var taken atomic.Int32
	var group sync.WaitGroup
	for machine := range 100 {
		group.Go(func() {
			got := 0
			for n := range servers {
				_, err := servers[(machine+n)%2].TakeInvitation(t.Context(), store.InvitationName{1}, store.RequestID{byte(machine)}, storetest.In(1))
				if ended, _ := errors.AsType[*store.EndedError](err); err == nil {
					got++
				} else if ended == nil || !ended.Used {
					t.Error(err)
				}
			}
			if got == 1 {
				t.Errorf("machine %d got it from one server only", machine)
			}
			if got > 0 {
				taken.Add(1)
			}
		})
	}
	group.Wait()
	if taken.Load() != 10 {
		t.Errorf("%d machines have it, want 10", taken.Load())
	}
	owned, err := servers[1].ListInvitations(t.Context(), store.OwnerHash{1})
	if err != nil || len(owned) != 1 || len(owned[0].Takers) != 10 {
		t.Errorf("there are %v, %v", owned, err)
	}
}

// TestSealedEndsWithItsLease has an invitation whose sealed config etcd itself removes.
func TestSealedEndsWithItsLease(t *testing.T) {
	s := openShared(t, store.Limits{})
	i := storetest.NewInvitation(1, 1, 1)
	i.Created = time.Now()
	i.Expires = i.Created.Add(time.Second)
	storetest.Invite(t, s, i)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		// A server whose clock stands still would give it for ever.
		_, err := s.TakeInvitation(ctx, i.Name, store.RequestID{1}, i.Created)
		if ended, _ := errors.AsType[*store.EndedError](err); ended != nil && !ended.Used {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
