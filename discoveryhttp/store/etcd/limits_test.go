package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
	etcdstore "github.com/spanmesh/span/discoveryhttp/store/etcd"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

var (
	alice = netip.MustParseAddr("192.0.2.1")
	bob   = netip.MustParseAddr("2001:db8::")
)

// updateBy makes an update of a caller.
func updateBy(t *testing.T, s *etcdstore.Store, caller netip.Addr, cluster, id, data string, endpoints ...string) error {
	t.Helper()
	u := storetest.NewUpdate(id, data, storetest.In(30), endpoints...)
	u.Caller = caller
	return s.Update(t.Context(), cluster, u)
}

// awaitStats waits until a server has read what another has written.
func awaitStats(t *testing.T, s *etcdstore.Store, want store.Stats) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for storetest.Counts(s) != want {
		if time.Now().After(deadline) {
			t.Fatalf("the server has %+v, want %+v", s.Stats(), want)
		}
	}
}

// TestLimitsHoldForWhatIsWritten has a server that writes, another that is at the limits
// therefore, and one that begins after that. Nobody watches.
func TestLimitsHoldForWhatIsWritten(t *testing.T) {
	const big = 2000
	for name, c := range map[string]struct {
		limits store.Limits
		fill   func(s *etcdstore.Store) error
		more   func(s *etcdstore.Store) error
		want   error
		// clusters and affiliates are those that fill makes.
		clusters, affiliates int
		// free is the cluster of an affiliate "a" whose deletion makes room.
		free string
	}{
		"clusters": {
			limits: store.Limits{Clusters: 2}, clusters: 2, affiliates: 2, want: store.ErrTooManyClusters, free: "c1",
			fill: func(s *etcdstore.Store) error {
				return errors.Join(updateBy(t, s, alice, "c1", "a", "1"), updateBy(t, s, bob, "c2", "a", "1"))
			},
			more: func(s *etcdstore.Store) error { return updateBy(t, s, alice, "c3", "a", "1") },
		},
		"clusters, by endpoints alone": {
			limits: store.Limits{Clusters: 1}, clusters: 1, affiliates: 1, want: store.ErrTooManyClusters, free: "c1",
			fill: func(s *etcdstore.Store) error { return updateBy(t, s, alice, "c1", "a", "", "x") },
			more: func(s *etcdstore.Store) error { return updateBy(t, s, alice, "c3", "a", "", "x") },
		},
		"affiliates": {
			limits: store.Limits{Affiliates: 2}, clusters: 1, affiliates: 2, want: store.ErrTooManyAffiliates, free: "c1",
			fill: func(s *etcdstore.Store) error {
				return errors.Join(updateBy(t, s, alice, "c1", "a", "1"), updateBy(t, s, alice, "c1", "b", "1"))
			},
			more: func(s *etcdstore.Store) error { return updateBy(t, s, bob, "c1", "c", "1") },
		},
		"bytes": {
			limits: store.Limits{Bytes: 2 * (big + 300)}, clusters: 2, affiliates: 2, want: store.ErrFull, free: "c1",
			fill: func(s *etcdstore.Store) error {
				return errors.Join(updateBy(t, s, alice, "c1", "a", strings.Repeat("x", big)), updateBy(t, s, bob, "c2", "a", strings.Repeat("x", big)))
			},
			more: func(s *etcdstore.Store) error { return updateBy(t, s, netip.Addr{}, "c3", "a", "1") },
		},
		"bytes of a caller": {
			limits: store.Limits{CallerBytes: 2 * (big + 300)}, clusters: 2, affiliates: 2, want: store.ErrCallerFull, free: "c1",
			fill: func(s *etcdstore.Store) error {
				return errors.Join(updateBy(t, s, alice, "c1", "a", strings.Repeat("x", big)), updateBy(t, s, alice, "c2", "a", strings.Repeat("x", big)))
			},
			more: func(s *etcdstore.Store) error { return updateBy(t, s, alice, "c2", "b", "1") },
		},
		"clusters of a caller": {
			limits: store.Limits{CallerClusters: 2}, clusters: 2, affiliates: 2, want: store.ErrCallerFull, free: "c1",
			fill: func(s *etcdstore.Store) error {
				return errors.Join(updateBy(t, s, bob, "c1", "a", "1"), updateBy(t, s, bob, "c2", "a", "1"))
			},
			more: func(s *etcdstore.Store) error { return updateBy(t, s, bob, "c3", "a", "1") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := etcdstore.Options{Prefix: newPrefix(t), Limits: c.limits}
			one, two := open(t, sharedEtcd(t), o), open(t, sharedEtcd(t), o)
			if err := c.fill(one); err != nil {
				t.Fatal(err)
			}
			full := store.Stats{Clusters: c.clusters, Affiliates: c.affiliates}
			awaitStats(t, two, full)
			late := open(t, sharedEtcd(t), o)
			awaitStats(t, late, full)
			for i, s := range []*etcdstore.Store{one, two, late} {
				if err := c.more(s); !errors.Is(err, c.want) {
					t.Errorf("server %d: got %v, want %v", i, err, c.want)
				}
				if err := c.fill(s); err != nil {
					t.Errorf("server %d refuses refreshes: %v", i, err)
				}
				if got := storetest.Counts(s); got != full {
					t.Errorf("server %d has %+v, want %+v", i, got, full)
				}
			}
			if err := one.Delete(t.Context(), c.free, "a"); err != nil {
				t.Fatal(err)
			}
			if err := c.more(one); err != nil {
				t.Errorf("there is no room after a deletion: %v", err)
			}
		})
	}
}

// TestOtherCallersAreNotCharged fills the quota of one caller.
func TestOtherCallersAreNotCharged(t *testing.T) {
	s := openShared(t, store.Limits{CallerBytes: 1000, CallerClusters: 1})
	for _, step := range []struct {
		caller      netip.Addr
		cluster, id string
		data        string
		want        error
	}{
		{alice, "c", "a", strings.Repeat("x", 700), nil},
		{alice, "c", "b", "1", store.ErrCallerFull},
		{alice, "d", "a", "1", store.ErrCallerFull},
		{bob, "c", "b", "1", nil},
		{netip.Addr{}, "e", "a", strings.Repeat("x", 2000), nil}, // charged to nobody
		{bob, "c", "a", strings.Repeat("y", 100), nil},           // the charge moves
		{alice, "d", "a", "1", nil},
		{alice, "d", "a", strings.Repeat("x", 700), nil},
		{bob, "d", "a", strings.Repeat("y", 700), nil}, // has no room for it, so that the charge stays
		{bob, "d", "a", strings.Repeat("y", 760), store.ErrCallerFull},
		{alice, "d", "c", "1", store.ErrCallerFull},
	} {
		if err := updateBy(t, s, step.caller, step.cluster, step.id, step.data); !errors.Is(err, step.want) {
			t.Errorf("%s writes %d bytes to %s of %s: %v, want %v", step.caller, len(step.data), step.id, step.cluster, err, step.want)
		}
	}
}

// TestWritersOfOneAffiliate has many writers on two servers at once.
func TestWritersOfOneAffiliate(t *testing.T) {
	const most, writers, rounds = 8, 6, 10
	o := etcdstore.Options{Prefix: newPrefix(t), Limits: store.Limits{Endpoints: most}}
	servers := []*etcdstore.Store{open(t, sharedEtcd(t), o), open(t, sharedEtcd(t), o)}
	w := watch(t, servers[0])
	storetest.Update(t, servers[0], "c", "a", "1", storetest.In(30), "own")
	collect(t, w, "+a=1[own]")
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			for i := range rounds {
				u := storetest.NewUpdate("a", "", storetest.In(30), fmt.Sprintf("%d-%d", n, i))
				if err := servers[n%2].Update(t.Context(), "c", u); err != nil && !errors.Is(err, store.ErrTooManyEndpoints) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	snapshot, err := servers[1].List(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, endpoints := snapshot.Affiliates[0].Parts(); len(endpoints) != most {
		t.Errorf("the affiliate has %d endpoints, want %d", len(endpoints), most)
	}
	storetest.Update(t, servers[1], "c", "a", "2", storetest.In(30), "new-1", "new-2", "own")
	for _, want := range []string{"6e65772d31", "6e65772d32", "6f776e"} {
		if got := endpointsOf(t, servers[0], "a"); !slices.Contains(got, want) {
			t.Errorf("the owner's endpoints are not among %v", got)
		}
	}
}

func endpointsOf(t *testing.T, s *etcdstore.Store, id string) (out []string) {
	t.Helper()
	snapshot, err := s.List(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range snapshot.Affiliates {
		if a.ID == id {
			_, endpoints := a.Parts()
			for _, e := range endpoints {
				out = append(out, fmt.Sprintf("%x", e))
			}
		}
	}
	return out
}

// TestManyEndpoints has more endpoints than etcd takes operations in a transaction.
func TestManyEndpoints(t *testing.T) {
	s := openShared(t, store.Limits{Endpoints: 300})
	endpoints := func(from, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("e%04d", from+i))
		}
		return out
	}
	storetest.Update(t, s, "c", "a", "1", storetest.In(30), endpoints(0, 250)...)
	storetest.Update(t, s, "c", "a", "2", storetest.In(30), endpoints(1000, 299)...)
	storetest.Update(t, s, "c", "a", "2", storetest.In(50), endpoints(1000, 299)...)
	if got := endpointsOf(t, s, "a"); len(got) != 300 {
		t.Errorf("the affiliate has %d endpoints", len(got))
	}
}

// TestOneTokenWins has two servers that write the first affiliate of a cluster at once.
func TestOneTokenWins(t *testing.T) {
	o := etcdstore.Options{Prefix: newPrefix(t)}
	servers := map[string]*etcdstore.Store{"one": open(t, sharedEtcd(t), o), "two": open(t, sharedEtcd(t), o)}
	for i := range 20 {
		cluster := fmt.Sprint(i)
		errs := map[string]error{}
		var mu sync.Mutex
		var group sync.WaitGroup
		for token, s := range servers {
			group.Go(func() {
				err := storetest.UpdateAs(t, s, token, cluster, token, token, storetest.Start)
				mu.Lock()
				defer mu.Unlock()
				errs[token] = err
			})
		}
		group.Wait()
		winner, loser := "one", "two"
		if errs["two"] == nil {
			winner, loser = "two", "one"
		}
		if errs[winner] != nil || !errors.Is(errs[loser], store.ErrOtherToken) {
			t.Fatalf("got %v", errs)
		}
		storetest.Expect(t, servers[loser], cluster, winner+"="+winner+"[]")
		storetest.ExpectAdmits(t, servers[loser], cluster, false, loser)
		storetest.ExpectAdmits(t, servers[loser], cluster, true, winner)
	}
}

// TestOthersWatchesEnd has a watch with a token on one server, and another token that is pinned
// on the other.
func TestOthersWatchesEnd(t *testing.T) {
	o := etcdstore.Options{Prefix: newPrefix(t)}
	one, two := open(t, sharedEtcd(t), o), open(t, sharedEtcd(t), o)
	_, stranger, err := two.Watch(t.Context(), "c", netip.Addr{}, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, member, err := two.Watch(t.Context(), "c", netip.Addr{}, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if err := storetest.UpdateAs(t, one, "one", "c", "a", "1", storetest.Start); err != nil {
		t.Fatal(err)
	}
	collect(t, member, "+a=1[]")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := stranger.Next(ctx)
		if errors.Is(err, store.ErrOtherToken) {
			break
		}
		if err != nil {
			t.Fatalf("the stranger's watch ended with %v", err)
		}
	}
}

// TestUsage has two servers with many writers. Each ends up with what a server knows that begins
// then.
func TestUsage(t *testing.T) {
	const writers, rounds = 6, 40
	o := etcdstore.Options{Prefix: newPrefix(t), Limits: store.Limits{Affiliates: 3, Endpoints: 4, CallerBytes: 2500, CallerClusters: 2, Clusters: 5}}
	servers := []*etcdstore.Store{open(t, sharedEtcd(t), o), open(t, sharedEtcd(t), o)}
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			random := mathrand.New(mathrand.NewPCG(1, uint64(n)))
			for range rounds {
				s, cluster, id := servers[random.IntN(2)], fmt.Sprint(random.IntN(7)), fmt.Sprint(random.IntN(5))
				u := storetest.NewUpdate(id, strings.Repeat("x", random.IntN(3)*200), storetest.In(30), fmt.Sprint(random.IntN(9)), fmt.Sprint(random.IntN(9)))
				u.Caller = []netip.Addr{alice, bob, {}}[random.IntN(3)]
				u.Token = [][]byte{nil, []byte("one"), []byte("two")}[random.IntN(3)]
				if random.IntN(4) == 0 {
					if err := s.Delete(t.Context(), cluster, id); err != nil {
						t.Error(err)
					}
					continue
				}
				_ = s.Update(t.Context(), cluster, u) // limits, and other tokens
			}
		})
	}
	group.Wait()
	want := open(t, sharedEtcd(t), o).Usage()
	for i, s := range servers {
		deadline := time.Now().Add(time.Minute)
		for !slices.Equal(s.Usage(), want) {
			if time.Now().After(deadline) {
				t.Fatalf("server %d:\n%s\nwant:\n%s", i, strings.Join(s.Usage(), "\n"), strings.Join(want, "\n"))
			}
		}
	}
	if len(want) < 10 {
		t.Errorf("there is little: %s", want)
	}
}

// TestManyKeys begins with more keys than are read at once.
func TestManyKeys(t *testing.T) {
	o := etcdstore.Options{Prefix: newPrefix(t)}
	first := open(t, sharedEtcd(t), o)
	const clusters, affiliates = 30, 12
	var group sync.WaitGroup
	for c := range clusters {
		group.Go(func() {
			for a := range affiliates {
				if err := updateBy(t, first, alice, fmt.Sprint(c), fmt.Sprint(a), "data", "x", "y"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	want := store.Stats{Clusters: clusters, Affiliates: clusters * affiliates}
	awaitStats(t, open(t, sharedEtcd(t), o), want)
	awaitStats(t, first, want)
}

// TestKeysOfAnEarlierVersion has a pin without its creation, and endpoints that do not say whose
// they are.
func TestKeysOfAnEarlierVersion(t *testing.T) {
	prefix := newPrefix(t)
	client := admin(t, sharedEtcd(t), "", "")
	const cluster = "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6" // of "c"
	token := strings.Repeat("t", 32)
	for key, value := range map[string]string{"c/" + cluster + "/61/d": "1", "c/" + cluster + "/61/e/78": "", "p/" + cluster: token} {
		if _, err := client.Put(t.Context(), prefix+key, value); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, sharedEtcd(t), etcdstore.Options{Prefix: prefix, Limits: store.Limits{Endpoints: 2}})
	storetest.Expect(t, s, "c", "a=1[x]")
	storetest.ExpectAdmits(t, s, "c", true, token)
	storetest.ExpectAdmits(t, s, "c", false, "another")
	if err := storetest.UpdateAs(t, s, token, "c", "a", "2", storetest.Start); err != nil {
		t.Error(err)
	}
	storetest.Update(t, s, "c", "a", "2", storetest.In(30), "y", "z")
	storetest.Expect(t, s, "c", "a=2[y z]")
}

// probePause is the time between two probes.
const probePause = 50 * time.Millisecond

// TestReadiness has an etcd that can be read, and not written to.
func TestReadiness(t *testing.T) {
	ready := func(t *testing.T, s *etcdstore.Store, want string) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			err := s.Ready(t.Context())
			if want == "" && err == nil || want != "" && err != nil && strings.Contains(err.Error(), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("ready returns %v, want %q", err, want)
			}
			<-time.After(probePause)
		}
	}

	t.Run("without space", func(t *testing.T) {
		e, err := newEtcd(t.TempDir())
		if err == nil {
			err = e.start("--quota-backend-bytes", "200000")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.kill)
		s := open(t, e, etcdstore.Options{Prefix: "p/"})
		storetest.Update(t, s, "c", "a", "1", storetest.In(30))
		client := admin(t, e, "", "")
		for err = error(nil); err == nil; {
			_, err = client.Put(t.Context(), "other", strings.Repeat("x", 100_000))
		}
		if err := s.Update(t.Context(), "c", storetest.NewUpdate("b", "2", storetest.In(30))); err == nil || !strings.Contains(err.Error(), "etcdctl alarm disarm") {
			t.Errorf("an update without space: %v", err)
		}
		ready(t, s, "compact and defragment etcd")
		storetest.Expect(t, s, "c", "a=1[]")
		late := open(t, e, etcdstore.Options{Prefix: "p/"})
		ready(t, late, "compact and defragment etcd")
		storetest.Expect(t, late, "c", "a=1[]")
		freeSpace(t, e, client)
		ready(t, s, "")
		ready(t, late, "")
		storetest.Update(t, late, "c", "b", "2", storetest.In(30))
		storetest.Expect(t, s, "c", "a=1[]", "b=2[]")
	})

	t.Run("by a user that may only read", func(t *testing.T) {
		e := ownEtcd(t)
		open(t, e, etcdstore.Options{}) // it answers
		client := admin(t, e, "", "")
		allow := func(kind clientv3.PermissionType) error {
			return second(client.RoleGrantPermission(t.Context(), "discovery", "p/", clientv3.GetPrefixRangeEnd("p/"), kind))
		}
		for _, err := range []error{
			second(client.RoleAdd(t.Context(), "root")),
			second(client.UserAdd(t.Context(), "root", "root-password")),
			second(client.UserGrantRole(t.Context(), "root", "root")),
			second(client.RoleAdd(t.Context(), "discovery")),
			allow(clientv3.PermissionType(clientv3.PermReadWrite)),
			second(client.UserAdd(t.Context(), "spanctl", "s3cret")),
			second(client.UserGrantRole(t.Context(), "spanctl", "discovery")),
			second(client.AuthEnable(t.Context())),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		o := etcdstore.Options{Prefix: "p/", User: "spanctl", Password: "s3cret"}
		s := open(t, e, o)
		ready(t, s, "")
		client = admin(t, e, "root", "root-password")
		if err := allow(clientv3.PermissionType(clientv3.PermRead)); err != nil {
			t.Fatal(err)
		}
		ready(t, s, "grant the user's role readwrite permission")
		o.Endpoints, o.Log = []string{e.url}, slog.New(slog.DiscardHandler)
		if _, err := etcdstore.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "grant the user's role readwrite permission") {
			t.Errorf("a server of a user that may only read: %v", err)
		}
		if err := allow(clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
			t.Fatal(err)
		}
		ready(t, s, "")
	})
}

// freeSpace does what the error of an etcd without space says.
func freeSpace(t *testing.T, e *etcd, client *clientv3.Client) {
	t.Helper()
	now, err := client.Get(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { return second(client.Delete(t.Context(), "other")) },
		func() error {
			return second(client.Compact(t.Context(), now.Header.Revision+1, clientv3.WithCompactPhysical()))
		},
		func() error { return second(client.Defragment(t.Context(), e.url)) },
		func() error { return second(client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
}
