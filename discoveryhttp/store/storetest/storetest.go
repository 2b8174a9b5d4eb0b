package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

// Run tests a store. open returns an empty one, which it closes when its test ends.
func Run(t *testing.T, open func(t *testing.T, limits store.Limits) server.Store) {
	for name, test := range map[string]struct {
		limits store.Limits
		run    func(t *testing.T, s server.Store)
	}{
		"updates are merged":            {run: testMerging},
		"limits":                        {store.Limits{Affiliates: 2, Endpoints: 2}, testLimits},
		"watch":                         {run: testWatch},
		"a limit of watchers":           {store.Limits{Watchers: 1}, testWatcherLimit},
		"writers and a watcher at once": {run: testConcurrency},
		"the first affiliate pins":      {run: testPin},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, open(t, test.limits)) })
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

func testLimits(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30), "x")
	Update(t, s, "c", "b", "2", In(30))
	if err := s.Update(t.Context(), "c", NewUpdate("c", "3", In(30))); !errors.Is(err, store.ErrTooManyAffiliates) {
		t.Errorf("a third affiliate: %v", err)
	}
	if err := s.Update(t.Context(), "c", NewUpdate("a", "", In(30), "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
		t.Errorf("a third endpoint: %v", err)
	}
	if err := s.Update(t.Context(), "new", NewUpdate("a", "1", In(30), "x", "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
		t.Errorf("three endpoints at once: %v", err)
	}
	Update(t, s, "c", "a", "1", In(30), "x", "y", "y")
	Expect(t, s, "c", "a=1[x y]", "b=2[]")
}

func testWatch(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30))
	first, w, err := s.Watch(t.Context(), "c", nil)
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

func testWatcherLimit(t *testing.T, s server.Store) {
	_, w, err := s.Watch(t.Context(), "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Watch(t.Context(), "c", nil); !errors.Is(err, store.ErrTooManyWatchers) {
		t.Errorf("a second watcher: %v", err)
	}
	w.Close()
	if _, w, err = s.Watch(t.Context(), "c", nil); err != nil {
		t.Fatalf("a watcher after the first was closed: %v", err)
	}
	w.Close()
}

// testConcurrency has several writers and a watcher, which must end up with what
// List returns.
func testConcurrency(t *testing.T, s server.Store) {
	_, w, err := s.Watch(t.Context(), "c", nil)
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
	if _, _, err := s.Watch(t.Context(), "c", []byte("two")); !errors.Is(err, store.ErrOtherToken) {
		t.Errorf("a watch with another token: %v", err)
	}
	Expect(t, s, "c", "a=1[]")
	Update(t, s, "c", "b", "2", In(30)) // by a server that takes no tokens
	if err := s.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	ExpectAdmits(t, s, "c", false, "two")
	if err := UpdateAs(t, s, "one", "c", "a", "3", In(10)); err != nil {
		t.Error(err)
	}
	Expect(t, s, "c", "a=3[]", "b=2[]")
}
