package etcd_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
	etcdstore "github.com/spanmesh/span/discoveryhttp/store/etcd"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, limits store.Limits) server.Store { return openShared(t, limits) })
}

// collect reads events until they are all that are wanted.
func collect(t *testing.T, w *store.Watcher, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for !slices.Equal(got, want) {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("got %v, want %v: %v", got, want, err)
		}
		for _, e := range events {
			got = append(got, storetest.ShowEvent(e))
		}
	}
}

// watch starts a watch of cluster c.
func watch(t *testing.T, s *etcdstore.Store) *store.Watcher {
	t.Helper()
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// awaitResync reads events until the watcher must resynchronize.
func awaitResync(t *testing.T, w *store.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		events, err := w.Next(ctx)
		if errors.Is(err, store.ErrResync) {
			return
		}
		if err != nil {
			t.Fatalf("got %v, %v; want ErrResync", events, err)
		}
	}
}

// updateNow makes an update at the present time: etcd's leases end by the clock.
func updateNow(t *testing.T, s *etcdstore.Store, id, data string, ttl time.Duration, endpoints ...string) {
	t.Helper()
	u := storetest.NewUpdate(id, data, storetest.Start, endpoints...)
	u.Now, u.TTL = time.Now(), ttl
	if err := s.Update(t.Context(), "c", u); err != nil {
		t.Fatal(err)
	}
}

// updateUntilAccepted repeats an update until etcd is back.
func updateUntilAccepted(t *testing.T, s *etcdstore.Store, id, data string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.Update(t.Context(), "c", storetest.NewUpdate(id, data, storetest.In(30)))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestExpiry has leases that end in a few seconds.
func TestExpiry(t *testing.T) {
	s := openShared(t, store.Limits{})
	w := watch(t, s)
	updateNow(t, s, "long", "1", time.Hour, "x")
	updateNow(t, s, "long", "", time.Second, "y")
	updateNow(t, s, "long", "", time.Second, "x") // does not shorten a life
	updateNow(t, s, "short", "2", 4*time.Second)
	updateNow(t, s, "short", "", time.Hour, "z") // does not extend that of the affiliate
	collect(t, w, "+long=1[x]", "+long=1[x y]", "+short=2[]", "+short=2[z]", "+long=1[x]", "-short")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The endpoint that was added to the expired affiliate is removed.
	for want := []string{"long=1[x]"}; !slices.Equal(storetest.List(t, s, "c"), want); {
		if ctx.Err() != nil {
			t.Fatalf("the cluster has %v, want %v", storetest.List(t, s, "c"), want)
		}
	}
}

// TestTwoServers has two stores on one etcd.
func TestTwoServers(t *testing.T) {
	o := etcdstore.Options{Prefix: newPrefix(t)}
	one, two := open(t, sharedEtcd(t), o), open(t, sharedEtcd(t), o)
	w := watch(t, two)
	storetest.Update(t, one, "c", "a", "1", storetest.In(30), "x")
	storetest.Update(t, two, "c", "a", "", storetest.In(30), "y")
	storetest.Update(t, one, "c", "a", "1", storetest.In(30), "x") // a refresh is no change
	if err := one.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	collect(t, w, "+a=1[x]", "+a=1[x y]", "-a")
	if err := storetest.UpdateAs(t, one, "one", "other", "a", "1", storetest.Start); err != nil {
		t.Error(err)
	}
	storetest.ExpectAdmits(t, two, "other", false, "two")
	w.Close()
	if got := storetest.Counts(one); got != (store.Stats{Clusters: 1, Affiliates: 1}) {
		t.Errorf("without watchers, the stats are %+v", got)
	}
}

// TestRestartedEtcd kills etcd and starts it again.
func TestRestartedEtcd(t *testing.T) {
	e := ownEtcd(t)
	s := open(t, e, etcdstore.Options{Prefix: "p/"})
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	w := watch(t, s)
	e.kill()
	awaitResync(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without etcd, ready returns %v, want the reason", err)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	updateUntilAccepted(t, s, "b", "2")
	storetest.Expect(t, s, "c", "a=1[]", "b=2[]")
	w = watch(t, s)
	storetest.Update(t, s, "c", "d", "3", storetest.In(30))
	collect(t, w, "+d=3[]")
}

// TestEmptiedEtcd starts etcd again without its data: its revisions are lower than
// those that a watch waits for.
func TestEmptiedEtcd(t *testing.T) {
	e := ownEtcd(t)
	s := open(t, e, etcdstore.Options{Prefix: "p/"})
	for i := range 20 {
		storetest.Update(t, s, "c", "a", string(rune('a'+i)), storetest.In(30))
	}
	w := watch(t, s)
	e.kill()
	awaitResync(t, w)
	if err := os.RemoveAll(e.dir); err != nil {
		t.Fatal(err)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	// The leases that the store has granted do not exist any more.
	updateUntilAccepted(t, s, "b", "2")
	storetest.Expect(t, s, "c", "b=2[]")
	w = watch(t, s)
	storetest.Update(t, s, "c", "d", "3", storetest.In(30))
	collect(t, w, "+d=3[]")
}

// TestMembersThatDoNotAnswer has a member that nobody listens at and one that
// accepts connections and never answers, before the one that works.
func TestMembersThatDoNotAnswer(t *testing.T) {
	e := sharedEtcd(t)
	openShared(t, store.Limits{})
	closed, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	s, err := etcdstore.Open(t.Context(), etcdstore.Options{
		Endpoints: []string{closed, "http://" + silent.Addr().String(), e.url}, Prefix: newPrefix(t), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := watch(t, s)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	collect(t, w, "+a=1[]")
}

// admin returns a client of etcd for a test to set etcd up with.
func admin(t *testing.T, e *etcd, user, password string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Username: user, Password: password, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestAuthentication has an etcd with users.
func TestAuthentication(t *testing.T) {
	e := ownEtcd(t)
	open(t, e, etcdstore.Options{Prefix: "p/"})
	client := admin(t, e, "", "")
	for _, err := range []error{
		second(client.RoleAdd(t.Context(), "root")),
		second(client.UserAdd(t.Context(), "root", "root-password")),
		second(client.UserGrantRole(t.Context(), "root", "root")),
		second(client.RoleAdd(t.Context(), "discovery")),
		second(client.RoleGrantPermission(t.Context(), "discovery", "p/", clientv3.GetPrefixRangeEnd("p/"), clientv3.PermissionType(clientv3.PermReadWrite))),
		second(client.UserAdd(t.Context(), "spanctl", "s3cret")),
		second(client.UserGrantRole(t.Context(), "spanctl", "discovery")),
		second(client.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	s := open(t, e, etcdstore.Options{Prefix: "p/", User: "spanctl", Password: "s3cret"})
	w := watch(t, s)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x")
	collect(t, w, "+a=1[x]")
	if err := storetest.UpdateAs(t, s, "one", "other", "a", "1", storetest.Start); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Error(err)
	}
	collect(t, w, "-a")

	t.Run("an invalid token is renewed", func(t *testing.T) {
		// Disabling authentication invalidates all tokens.
		root := admin(t, e, "root", "root-password")
		if _, err := root.AuthDisable(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := client.AuthEnable(t.Context()); err != nil {
			t.Fatal(err)
		}
		storetest.Update(t, s, "c", "b", "2", storetest.In(30))
		storetest.Expect(t, s, "c", "b=2[]")
		collect(t, w, "+b=2[]")
	})

	for name, c := range map[string]struct {
		o    etcdstore.Options
		want string
	}{
		"no user":        {etcdstore.Options{Prefix: "p/"}, "etcd wants a user and a password"},
		"wrong password": {etcdstore.Options{Prefix: "p/", User: "spanctl", Password: "wr0ng"}, "invalid user ID or password"},
		"another prefix": {etcdstore.Options{Prefix: "q/", User: "spanctl", Password: "s3cret"}, "permission denied: grant"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Endpoints, c.o.Log = []string{e.url}, slog.New(slog.DiscardHandler)
			_, err := etcdstore.Open(t.Context(), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// second returns the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// TestRevokedLease revokes a lease that the store believes to exist.
func TestRevokedLease(t *testing.T) {
	e := ownEtcd(t)
	s := open(t, e, etcdstore.Options{Prefix: "p/"})
	w := watch(t, s)
	updateNow(t, s, "a", "1", time.Hour)
	collect(t, w, "+a=1[]")
	client := admin(t, e, "", "")
	leases, err := client.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range leases.Leases {
		if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, w, "-a")
	updateNow(t, s, "a", "2", time.Hour)
	collect(t, w, "+a=2[]")
}

func TestOpenErrorNamesTheEndpoint(t *testing.T) {
	url, err := freeURL()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]etcdstore.Options{
		"without a user": {},
		"with a user":    {User: "spanctl", Password: "s3cret"},
	} {
		t.Run(name, func(t *testing.T) {
			o.Endpoints, o.Log = []string{url}, slog.New(slog.DiscardHandler)
			_, err = etcdstore.Open(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), "connect to etcd at "+url) || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestClientCertificates has an etcd that requires them.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	c := newCertificate(t, dir)
	e, err := newEtcd(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	e.url = strings.Replace(e.url, "http://", "https://", 1)
	if err := e.start("--cert-file", c.certFile, "--key-file", c.keyFile, "--client-cert-auth", "--trusted-ca-file", c.certFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	s := open(t, e, etcdstore.Options{TLS: c.config(true)})
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	storetest.Expect(t, s, "c", "a=1[]")
	_, err = etcdstore.Open(t.Context(), etcdstore.Options{Endpoints: []string{e.url}, TLS: c.config(false), Log: slog.New(slog.DiscardHandler)})
	// etcd closes the connection. Whether the reason arrives before is up to TCP.
	if err == nil {
		t.Error("etcd accepted a client without a certificate")
	}
}
