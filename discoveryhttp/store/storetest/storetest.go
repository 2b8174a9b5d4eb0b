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
		"the first pin counts":          {run: testPin},
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
	if err := s.Update(t.Context(), "c", NewUpdate("a", "new", In(30), "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
		t.Errorf("a third endpoint: %v", err)
	}
	if err := s.Update(t.Context(), "new", NewUpdate("a", "1", In(30), "x", "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
		t.Errorf("three endpoints at once: %v", err)
	}
	Update(t, s, "c", "a", "1", In(30), "x", "y", "y")
	Expect(t, s, "c", "a=1[x y]", "b=2[]")
	Expect(t, s, "new")
}

func testWatch(t *testing.T, s server.Store) {
	Update(t, s, "c", "a", "1", In(30))
	first, w, err := s.Watch(t.Context(), "c")
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
	_, w, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Watch(t.Context(), "c"); !errors.Is(err, store.ErrTooManyWatchers) {
		t.Errorf("a second watcher: %v", err)
	}
	w.Close()
	if _, w, err = s.Watch(t.Context(), "c"); err != nil {
		t.Fatalf("a watcher after the first was closed: %v", err)
	}
	w.Close()
}

// testConcurrency has several writers and a watcher, which must end up with what
// List returns.
func testConcurrency(t *testing.T, s server.Store) {
	_, w, err := s.Watch(t.Context(), "c")
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

func testPin(t *testing.T, s server.Store) {
	for _, c := range []struct {
		cluster, hash string
		now           time.Time
		want          bool
	}{
		{"c", "one", Start, true},
		{"c", "two", Start, false},
		{"c", "one", In(10), true},
		{"d", "two", Start, true},
	} {
		if ok, err := s.Pin(t.Context(), c.cluster, []byte(c.hash), c.now); err != nil || ok != c.want {
			t.Errorf("%s with %s: %v, %v", c.cluster, c.hash, ok, err)
		}
	}
}
