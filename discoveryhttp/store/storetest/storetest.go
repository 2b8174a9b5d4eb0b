package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Start is the time of every Update.
var Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// In returns the time that many minutes after Start.
func In(minutes int) time.Time { return Start.Add(time.Duration(minutes) * time.Minute) }

// Run tests a store. open returns an empty one, which it closes when its test ends. Tests
// whose names are given are left out: those of what the store does not do.
func Run(t *testing.T, open func(t *testing.T, limits store.Limits) server.Store, without ...string) {
	for name, test := range map[string]struct {
		limits store.Limits
		run    func(t *testing.T, s server.Store)
	}{
		"updates are merged":                 {run: testMerging},
		"a limit of affiliates":              {store.Limits{Affiliates: 2}, testAffiliateLimit},
		"a limit of endpoints":               {store.Limits{Endpoints: 2}, testEndpointLimit},
		"an affiliate evicts endpoints":      {store.Limits{Endpoints: 4}, testEndpointEviction},
		"an affiliate evicts one without":    {store.Limits{Affiliates: 2}, testAffiliateEviction},
		"a limit of clusters":                {store.Limits{Clusters: 2}, testClusterLimit},
		"a limit of bytes":                   {store.Limits{Bytes: 4 * affiliateBytes}, testByteLimit},
		"a limit of a caller's bytes":        {store.Limits{CallerBytes: 2 * affiliateBytes}, testCallerBytes},
		"a limit of a caller's clusters":     {store.Limits{CallerClusters: 2}, testCallerClusters},
		"watched clusters of a caller":       {store.Limits{CallerClusters: 2}, testWatchedClusters},
		"a watched cluster that is left":     {store.Limits{CallerClusters: 2}, testWatchedClusterMoves},
		"watch":                              {run: testWatch},
		"a limit of watchers":                {store.Limits{Watchers: 1}, testWatcherLimit},
		"what it keeps is counted":           {run: testCounts},
		"writers and a watcher at once":      {run: testConcurrency},
		"the first affiliate pins":           {run: testPin},
		"a pin ends watches with another":    {run: testPinEndsWatches},
		"calls with made-up tokens pin none": {store.Limits{Clusters: 2}, testMadeUpTokens},
		"an invitation is taken":             {run: testInvitation},
		"invitations are counted":            {run: testInvitationCounts},
		"an invitation expires":              {run: testInvitationExpires},
		"an invitation is revoked":           {run: testInvitationRevoked},
		"many take an invitation at once":    {run: testInvitationAtOnce},
		"a limit of invitations":             {store.Limits{Invitations: 3, OwnerInvitations: 2}, testInvitationLimit},
		"a limit of a caller's invitations":  {store.Limits{CallerInvitations: 2, InvitationBytes: 6 * invitationBytes, CallerInvitationBytes: 2 * invitationBytes}, testInvitationCallers},
	} {
		if !slices.Contains(without, name) {
			t.Run(name, func(t *testing.T) { test.run(t, open(t, test.limits)) })
		}
	}
}

func testMerging(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30), "x", "y")
	Update(t, s, "c", "b", "2", In(30))
	Update(t, s, "other", "a", "3", In(30))
	Expect(t, s, "c", "a=1[x y]", "b=2[]")
	Update(t, s, "c", "a", "", In(30), "y", "z")
	Expect(t, s, "c", "a=1[x y z]", "b=2[]")
	Update(t, s, "c", "a", "new", In(30))
	Expect(t, s, "c", "a=new[x y z]", "b=2[]")
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "c", "nobody"); err != nil {
		t.Errorf("deleting an unknown affiliate: %v", err)
	}
	Expect(t, s, "c", "b=2[]")
	Expect(t, s, "other", "a=3[]")
	Expect(t, s, "nowhere")
}

func testAffiliateLimit(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30), "x")
	Update(t, s, "c", "b", "2", In(30))
	expectError(t, "a third affiliate", s.Update(t.Context(), "c", NewUpdate("c", "3", In(30))), store.ErrTooManyAffiliates)
	Update(t, s, "c", "b", "new", In(30))
	Expect(t, s, "c", "a=1[x]", "b=new[]")
}

func expectError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// testEndpointLimit expects that what fits is stored.
func testEndpointLimit(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30), "x")
	expectError(t, "a third endpoint by others", s.Update(t.Context(), "c", NewUpdate("a", "", In(30), "y", "z")), store.ErrTooManyEndpoints)
	Expect(t, s, "c", "a=1[x y]")
	Update(t, s, "c", "a", "", In(30), "y", "x", "y")
	expectError(t, "three endpoints at once", s.Update(t.Context(), "new", NewUpdate("a", "1", In(30), "x", "y", "z")), store.ErrTooManyEndpoints)
	Expect(t, s, "new", "a=1[x y]")
	expectError(t, "three endpoints with new data", s.Update(t.Context(), "c", NewUpdate("a", "2", In(30), "y", "x", "z")), store.ErrTooManyEndpoints)
	Expect(t, s, "c", "a=2[x y]")
}

// testEndpointEviction has someone fill an affiliate with endpoints.
func testEndpointEviction(t *testing.T, s server.Store) {
	noise := func() {
		Update(t, s, "c", "a", "", In(30), "n1", "n2", "n3", "n4")
	}
	noise()
	Update(t, s, "c", "a", "1", In(30), "x", "y")
	expectEndpoints(t, s, "x", "y")
	expectError(t, "more noise", s.Update(t.Context(), "c", NewUpdate("a", "", In(30), "n5", "n6", "n7", "n8")), store.ErrTooManyEndpoints)
	expectEndpoints(t, s, "x", "y")
	Update(t, s, "c", "a", "1", In(30), "z")
	expectEndpoints(t, s, "x", "y", "z")
	Update(t, s, "c", "a", "1", In(30), "p", "q", "r", "z")
	expectEndpoints(t, s, "p", "q", "r", "z")
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	noise()
	Update(t, s, "c", "a", "2", In(30), "n3", "p", "q", "r")
	expectEndpoints(t, s, "n3", "p", "q", "r")
}

// expectEndpoints expects affiliate a of cluster c to have four endpoints, and some of them.
func expectEndpoints(t *testing.T, s server.Store, some ...string) {
	t.Helper()
	snapshot, err := s.List(t.Context(), "c")
	if err != nil || len(snapshot.Affiliates) != 1 {
		t.Fatalf("list: %v, %v", snapshot, err)
	}
	_, endpoints := snapshot.Affiliates[0].Parts()
	for _, want := range some {
		if !slices.ContainsFunc(endpoints, func(e []byte) bool { return string(e) == want }) {
			t.Errorf("%s is not among %s", want, endpoints)
		}
	}
	if len(endpoints) != 4 {
		t.Errorf("there are %d endpoints: %s; want 4", len(endpoints), endpoints)
	}
}

// testAffiliateEviction has someone fill a cluster with affiliates that have endpoints alone.
func testAffiliateEviction(t *testing.T, s server.Store) {
	Update(t, s, "c", "n1", "", In(20), "x")
	Update(t, s, "c", "n2", "", In(10), "x")
	expectError(t, "more noise", s.Update(t.Context(), "c", NewUpdate("n3", "", In(30), "x")), store.ErrTooManyAffiliates)
	Update(t, s, "c", "a", "1", In(30))
	Expect(t, s, "c", "a=1[]", "n1=[x]")
	Update(t, s, "c", "b", "2", In(30))
	Expect(t, s, "c", "a=1[]", "b=2[]")
	expectError(t, "a third affiliate", s.Update(t.Context(), "c", NewUpdate("d", "3", In(30))), store.ErrTooManyAffiliates)
}

func testClusterLimit(t *testing.T, s server.Store) {
	for _, cluster := range []string{"a", "b"} {
		Update(t, s, cluster, "x", "1", In(30))
	}
	expectError(t, "a third cluster", s.Update(t.Context(), "c", NewUpdate("x", "1", In(30))), store.ErrTooManyClusters)
	Update(t, s, "a", "y", "1", In(30))
	if err := s.Delete(t.Context(), "b", "x"); err != nil {
		t.Fatal(err)
	}
	Update(t, s, "c", "x", "1", In(30))
}

// affiliateBytes is more than an affiliate of updateBy counts, and half of it is less.
const affiliateBytes = 1000

// updateBy makes an update of size bytes of data by a caller.
func updateBy(t *testing.T, s server.Store, caller, cluster, id string, size int) error {
	t.Helper()
	u := NewUpdate(id, strings.Repeat("x", size), In(30))
	u.Caller = netip.MustParseAddr(caller)
	return s.Update(t.Context(), cluster, u)
}

const small, large = 500, 3000

func testByteLimit(t *testing.T, s server.Store) {
	full := error(nil)
	stored := 0
	for ; full == nil && stored < 20; stored++ {
		full = updateBy(t, s, fmt.Sprintf("10.0.0.%d", stored), strconv.Itoa(stored), "a", small)
	}
	expectError(t, "beyond the limit", full, store.ErrFull)
	if stored--; stored < 4 || stored > 8 {
		t.Errorf("%d affiliates were stored", stored)
	}
	expectError(t, "an affiliate that grows", updateBy(t, s, "10.0.0.0", "0", "a", large), store.ErrFull)
	expectError(t, "a refresh", updateBy(t, s, "10.0.0.0", "0", "a", small), nil)
	expectError(t, "one that shrinks", updateBy(t, s, "10.0.0.0", "0", "a", 1), nil)
	if err := s.Delete(t.Context(), "1", "a"); err != nil {
		t.Fatal(err)
	}
	expectError(t, "after a deletion", updateBy(t, s, "10.0.0.9", "9", "a", small), nil)
}

func testCallerBytes(t *testing.T, s server.Store) {
	one, two := "10.0.0.1", "10.0.0.2"
	full := error(nil)
	stored := 0
	for ; full == nil && stored < 20; stored++ {
		full = updateBy(t, s, one, "c", strconv.Itoa(stored), small)
	}
	expectError(t, "beyond the limit", full, store.ErrCallerFull)
	if stored--; stored < 2 || stored > 4 {
		t.Errorf("%d affiliates were stored", stored)
	}
	expectError(t, "an affiliate that grows", updateBy(t, s, one, "c", "0", large), store.ErrCallerFull)
	expectError(t, "a refresh", updateBy(t, s, one, "c", "0", small), nil)
	Update(t, s, "c", "nobody's", strings.Repeat("x", small), In(30))
	// The charge moves to who updates it.
	expectError(t, "another caller", updateBy(t, s, two, "c", "0", small), nil)
	expectError(t, "the first caller again", updateBy(t, s, one, "c", "more", small), nil)
	expectError(t, "beyond the limit again", updateBy(t, s, one, "c", "much more", small), store.ErrCallerFull)
	expectError(t, "a refresh of what another is charged with", updateBy(t, s, one, "c", "0", small), nil)
	if err := s.Delete(t.Context(), "c", "more"); err != nil {
		t.Fatal(err)
	}
	expectError(t, "after a deletion", updateBy(t, s, one, "c", "much more", small), nil)
}

func testCallerClusters(t *testing.T, s server.Store) {
	one, two := "10.0.0.1", "10.0.0.2"
	for _, cluster := range []string{"a", "b"} {
		expectError(t, cluster, updateBy(t, s, one, cluster, "x", small), nil)
	}
	// Who publishes first in a cluster that another watches pays for it.
	watchBy(t, s, two, "c", nil)
	expectError(t, "a third cluster", updateBy(t, s, one, "c", "x", small), store.ErrCallerFull)
	expectError(t, "another caller", updateBy(t, s, two, "c", "x", small), nil)
	expectError(t, "an affiliate of another's cluster", updateBy(t, s, one, "c", "y", small), nil)
	if err := s.Delete(t.Context(), "a", "x"); err != nil {
		t.Fatal(err)
	}
	expectError(t, "after a deletion", updateBy(t, s, one, "d", "x", small), nil)
}

// watchBy watches a cluster as a caller until the returned function is called, or the test ends.
func watchBy(t *testing.T, s server.Store, caller, cluster string, want error) (closeWatch func()) {
	t.Helper()
	_, w, err := s.Watch(t.Context(), cluster, netip.MustParseAddr(caller), nil)
	expectError(t, "a watch of "+cluster+" by "+caller, err, want)
	if err != nil {
		return func() {}
	}
	closeWatch = sync.OnceFunc(w.Close)
	t.Cleanup(closeWatch)
	return closeWatch
}

// testWatchedClusters has clusters that only watches have made.
func testWatchedClusters(t *testing.T, s server.Store) {
	one, two, three := "10.0.0.1", "10.0.0.2", "10.0.0.3"
	closeA := watchBy(t, s, one, "a", nil)
	closeB := watchBy(t, s, one, "b", nil)
	watchBy(t, s, one, "c", store.ErrCallerFull)
	expectError(t, "an update of a third cluster", updateBy(t, s, one, "c", "x", small), store.ErrCallerFull)
	watchBy(t, s, one, "a", nil)() // it is charged for that already
	watchBy(t, s, two, "c", nil)
	watchBy(t, s, one, "c", nil) // another is charged for that
	expectError(t, "an update of the caller's own cluster", updateBy(t, s, one, "a", "x", small), nil)
	watchBy(t, s, one, "d", store.ErrCallerFull)
	// The first update moves the charge.
	expectError(t, "an update by another caller", updateBy(t, s, three, "b", "x", small), nil)
	watchBy(t, s, one, "d", nil)()
	if err := s.Delete(t.Context(), "a", "x"); err != nil {
		t.Fatal(err)
	}
	closeA()
	closeB()
	watchBy(t, s, one, "d", nil)
	watchBy(t, s, one, "e", nil)
	watchBy(t, s, one, "f", store.ErrCallerFull)
}

// testWatchedClusterMoves has a cluster whose maker leaves it to another who watches it.
func testWatchedClusterMoves(t *testing.T, s server.Store) {
	one, two := "10.0.0.1", "10.0.0.2"
	closeFirst := watchBy(t, s, one, "a", nil)
	watchBy(t, s, two, "a", nil)
	watchBy(t, s, one, "b", nil)
	watchBy(t, s, one, "c", store.ErrCallerFull)
	closeFirst()
	watchBy(t, s, one, "c", nil)
	watchBy(t, s, two, "d", nil)
	watchBy(t, s, two, "e", store.ErrCallerFull)
}

func testWatch(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30))
	first, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if len(first.Affiliates) != 1 || Show(first.Affiliates[0]) != "a=1[]" {
		t.Errorf("the snapshot is %v", first)
	}
	Update(t, s, "c", "a", "1", In(40)) // a refresh is no change
	Update(t, s, "elsewhere", "a", "1", In(30))
	Update(t, s, "c", "b", "2", In(10), "x")
	if got := Next(t, w); !slices.Equal(got, []string{"+b=2[x]"}) {
		t.Errorf("got %v", got)
	}
	Update(t, s, "c", "a", "new", In(30))
	if got := Next(t, w); !slices.Equal(got, []string{"+a=new[]"}) {
		t.Errorf("got %v", got)
	}
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	if got := Next(t, w); !slices.Equal(got, []string{"-a"}) {
		t.Errorf("got %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", got, err)
	}
}

// statsPause is the time between two looks at counts, whose changes no event reports.
const statsPause = 5 * time.Millisecond

// testCounts counts endpoints that come, stay and go, and watchers that are closed twice.
func testCounts(t *testing.T, s server.Store) {
	expect := func(what string, clusters, affiliates, endpoints, watchers int) {
		t.Helper()
		want := [...]int{clusters, affiliates, endpoints, watchers}
		var got [4]int
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(statsPause) {
			n := s.Stats()
			if got = [...]int{n.Clusters, n.Affiliates, n.Endpoints, n.Watchers}; got == want || time.Now().After(deadline) {
				break
			}
		}
		if got != want {
			t.Errorf("%s: clusters, affiliates, endpoints and watchers are %v, want %v", what, got, want)
		}
	}
	expect("an empty store", 0, 0, 0, 0)
	Update(t, s, "c", "a", "1", In(30), "x", "y")
	Update(t, s, "c", "a", "2", In(30), "y", "z")
	Update(t, s, "c", "b", "", In(30), "x")
	Update(t, s, "d", "a", "1", In(30))
	expect("three affiliates", 2, 3, 4, 0)
	if s.Stats().Bytes <= 0 {
		t.Error("three affiliates have no bytes")
	}
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect("a watch", 2, 3, 4, 1)
	w.Close()
	w.Close()
	expect("no watch", 2, 3, 4, 0)
	for _, gone := range []struct{ cluster, id string }{{"c", "a"}, {"c", "b"}, {"d", "a"}} {
		if err := s.Delete(t.Context(), gone.cluster, gone.id); err != nil {
			t.Fatal(err)
		}
	}
	expect("all is deleted", 0, 0, 0, 0)
	if n := s.Stats().Bytes; n != 0 {
		t.Errorf("an empty store has %d bytes", n)
	}
}

func testWatcherLimit(t *testing.T, s server.Store) {
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Watch(t.Context(), "c", netip.Addr{}, nil); !errors.Is(err, store.ErrTooManyWatchers) {
		t.Errorf("a second watcher: %v", err)
	}
	w.Close()
	if _, w, err = s.Watch(t.Context(), "c", netip.Addr{}, nil); err != nil {
		t.Fatalf("a watcher after the first was closed: %v", err)
	}
	w.Close()
}

// testConcurrency has several writers and a watcher, which must end up with what
// List returns.
func testConcurrency(t *testing.T, s server.Store) {
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const writers, rounds = 8, 30
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() { write(t, s, fmt.Sprintf("a%d", n), rounds) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	seen := map[string]string{}
	want := strconv.Itoa(rounds - 1)
	for done := false; !done; {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			data, _ := e.Affiliate.Parts()
			seen[e.Affiliate.ID] = string(data)
			if e.Deleted {
				delete(seen, e.Affiliate.ID)
			}
		}
		done = len(seen) == writers
		for _, data := range seen {
			done = done && data == want
		}
	}
	group.Wait()
	if got := List(t, s, "c"); len(got) != writers {
		t.Errorf("the cluster has %v", got)
	}
}

// write updates an affiliate again and again, and sometimes deletes it.
func write(t *testing.T, s server.Store, id string, rounds int) {
	for i := range rounds {
		if err := s.Update(t.Context(), "c", NewUpdate(id, strconv.Itoa(i), In(30))); err != nil {
			t.Error(err)
		}
		if i%7 == 3 {
			if err := s.Delete(t.Context(), "c", id); err != nil {
				t.Error(err)
			}
		}
	}
}

// UpdateAs makes an update with a token.
func UpdateAs(t *testing.T, s server.Store, token, cluster, id, data string, now time.Time) error {
	t.Helper()
	u := NewUpdate(id, data, In(30))
	u.Now, u.Token = now, []byte(token)
	return s.Update(t.Context(), cluster, u)
}

// ExpectAdmits expects tokens to be admitted to a cluster, or not.
func ExpectAdmits(t *testing.T, s server.Store, cluster string, want bool, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		if ok, err := s.Admit(t.Context(), cluster, []byte(token), Start); err != nil || ok != want {
			t.Errorf("%s admits %s: %v, %v; want %v", cluster, token, ok, err, want)
		}
	}
}

func testPin(t *testing.T, s server.Store) {
	ExpectAdmits(t, s, "c", true, "one", "two", "one")
	if err := UpdateAs(t, s, "one", "c", "a", "1", Start); err != nil {
		t.Fatal(err)
	}
	ExpectAdmits(t, s, "c", true, "one")
	ExpectAdmits(t, s, "c", false, "two")
	ExpectAdmits(t, s, "d", true, "two")
	if err := UpdateAs(t, s, "two", "c", "b", "2", Start); !errors.Is(err, store.ErrOtherToken) {
		t.Errorf("an update with another token: %v", err)
	}
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, _, err := s.Watch(t.Context(), "c", netip.Addr{}, []byte("two")); !errors.Is(err, store.ErrOtherToken) {
		t.Errorf("a watch with another token: %v", err)
	}
	Expect(t, s, "c", "a=1[]")
	Update(t, s, "c", "b", "2", In(30)) // by a server that takes no tokens
	if got := Next(t, w); !slices.Equal(got, []string{"+b=2[]"}) {
		t.Errorf("the watcher got %v", got)
	}
	if backlog := s.Stats().Backlog; backlog != 0 {
		t.Errorf("%d bytes are kept for a watch that was refused", backlog)
	}
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	ExpectAdmits(t, s, "c", false, "two")
	if err := UpdateAs(t, s, "one", "c", "a", "3", In(10)); err != nil {
		t.Error(err)
	}
	Expect(t, s, "c", "a=3[]", "b=2[]")
}

// testPinEndsWatches has watches from before the first affiliate.
func testPinEndsWatches(t *testing.T, s server.Store) {
	watchers := map[string]*store.Watcher{}
	for token, hash := range map[string][]byte{"one": []byte("one"), "two": []byte("two"), "": nil} {
		_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, hash)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		watchers[token] = w
	}
	if err := UpdateAs(t, s, "one", "c", "a", "1", Start); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"one", ""} {
		if got := Next(t, watchers[token]); !slices.Equal(got, []string{"+a=1[]"}) {
			t.Errorf("the watcher with token %q got %v", token, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	// A store of several servers may hear of the pin after the change.
	var err error
	for err == nil {
		_, err = watchers["two"].Next(ctx)
	}
	expectError(t, "the watcher with another token", err, store.ErrOtherToken)
}

// testMadeUpTokens calls with tokens for more clusters than there may be.
func testMadeUpTokens(t *testing.T, s server.Store) {
	for i := range 10 {
		cluster := fmt.Sprint("made-up", i)
		ExpectAdmits(t, s, cluster, true, "one", "two")
		_, w, err := s.Watch(t.Context(), cluster, netip.Addr{}, []byte("one"))
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		ExpectAdmits(t, s, cluster, true, "two")
	}
	for _, cluster := range []string{"a", "b"} {
		if err := UpdateAs(t, s, "one", cluster, "x", "1", Start); err != nil {
			t.Fatal(err)
		}
	}
}
