package store_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func in(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }

// each runs a test on every store.
func each(t *testing.T, limits store.Limits, test func(t *testing.T, s server.Store)) {
	t.Helper()
	run(t, map[string]func(t *testing.T) server.Store{
		"memory": inMemory(limits), "bolt": inBolt(limits),
		"etcd": func(t *testing.T) server.Store { return openEtcd(t, sharedEtcd(t), t.Name(), limits) },
	}, test)
}

// eachTimed runs a test on the stores that expire what they keep themselves, so
// that time is the test's.
func eachTimed(t *testing.T, limits store.Limits, test func(t *testing.T, s server.Store)) {
	t.Helper()
	run(t, map[string]func(t *testing.T) server.Store{"memory": inMemory(limits), "bolt": inBolt(limits)}, test)
}

func inMemory(limits store.Limits) func(*testing.T) server.Store {
	return func(*testing.T) server.Store { return store.NewMemory(limits) }
}

func inBolt(limits store.Limits) func(*testing.T) server.Store {
	return func(t *testing.T) server.Store {
		s, err := store.OpenBolt(filepath.Join(t.TempDir(), "db"), limits)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func run(t *testing.T, open map[string]func(t *testing.T) server.Store, test func(t *testing.T, s server.Store)) {
	t.Helper()
	for name, f := range open {
		t.Run(name, func(t *testing.T) {
			s := f(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, s)
		})
	}
}

func update(t *testing.T, s server.Store, cluster, id, data string, expires time.Time, endpoints ...string) {
	t.Helper()
	if err := s.Update(t.Context(), cluster, toUpdate(id, data, expires, endpoints...)); err != nil {
		t.Fatal(err)
	}
}

func toUpdate(id, data string, expires time.Time, endpoints ...string) store.Update {
	u := store.Update{ID: id, Now: start, TTL: expires.Sub(start)}
	if data != "" {
		u.Data = []byte(data)
	}
	for _, e := range endpoints {
		u.Endpoints = append(u.Endpoints, []byte(e))
	}
	return u
}

// show is an affiliate in a few letters: id=data[endpoint endpoint].
func show(a store.Affiliate) string {
	data, raw := a.Parts()
	var endpoints []string
	for _, e := range raw {
		endpoints = append(endpoints, string(e))
	}
	return fmt.Sprintf("%s=%s%v", a.ID, data, endpoints)
}

func list(t *testing.T, s server.Store, cluster string) (out []string) {
	t.Helper()
	snapshot, err := s.List(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range snapshot.Affiliates {
		out = append(out, show(a))
	}
	return out
}

func expect(t *testing.T, s server.Store, cluster string, want ...string) {
	t.Helper()
	if got := list(t, s, cluster); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", cluster, got, want)
	}
}

func expire(t *testing.T, s server.Store, now time.Time) {
	t.Helper()
	if err := s.Expire(t.Context(), now); err != nil {
		t.Fatal(err)
	}
}

func TestUpdatesAreUnited(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		update(t, s, "c", "a", "1", in(30), "x", "y")
		update(t, s, "c", "b", "2", in(30))
		update(t, s, "other", "a", "3", in(30))
		expect(t, s, "c", "a=1[x y]", "b=2[]")
		update(t, s, "c", "a", "", in(30), "y", "z")
		expect(t, s, "c", "a=1[x y z]", "b=2[]")
		update(t, s, "c", "a", "new", in(30))
		expect(t, s, "c", "a=new[x y z]", "b=2[]")
		if err := s.Delete(t.Context(), "c", "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "c", "nobody"); err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
		expect(t, s, "c", "b=2[]")
		expect(t, s, "other", "a=3[]")
		expect(t, s, "nowhere")
	})
}

func TestEverythingExpiresByItself(t *testing.T) {
	eachTimed(t, store.Limits{}, func(t *testing.T, s server.Store) {
		update(t, s, "c", "a", "1", in(30), "x")
		update(t, s, "c", "a", "", in(10), "y")
		update(t, s, "c", "short", "2", in(5))
		update(t, s, "c", "nameless", "", in(20), "z")
		expire(t, s, in(5).Add(-time.Second))
		expect(t, s, "c", "a=1[x y]", "nameless=[z]", "short=2[]")
		expire(t, s, in(5))
		expect(t, s, "c", "a=1[x y]", "nameless=[z]")
		expire(t, s, in(10))
		expect(t, s, "c", "a=1[x]", "nameless=[z]")
		expire(t, s, in(20))
		expect(t, s, "c", "a=1[x]")
		t.Run("an earlier expiry shortens nothing", func(t *testing.T) {
			update(t, s, "c", "a", "1", in(1), "x")
			expire(t, s, in(29))
			expect(t, s, "c", "a=1[x]")
		})
		t.Run("endpoints that others add prolong nobody's life", func(t *testing.T) {
			update(t, s, "c", "a", "", in(90), "x", "w")
			expire(t, s, in(30))
			expect(t, s, "c")
		})
	})
}

func TestFullServer(t *testing.T) {
	eachTimed(t, store.Limits{Clusters: 2}, func(t *testing.T, s server.Store) {
		update(t, s, "a", "x", "1", in(30))
		_, w, err := s.Watch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(t.Context(), "c", toUpdate("x", "1", in(30))); !errors.Is(err, store.ErrTooManyClusters) {
			t.Errorf("a third cluster: %v", err)
		}
		if _, _, err := s.Watch(t.Context(), "c"); !errors.Is(err, store.ErrTooManyClusters) {
			t.Errorf("a watch of a third cluster: %v", err)
		}
		if got := s.Stats(); got != (store.Stats{Clusters: 2, Affiliates: 1, Watchers: 1}) {
			t.Errorf("stats are %+v", got)
		}
		w.Close()
		update(t, s, "c", "x", "1", in(30))
	})
}

func TestLimits(t *testing.T) {
	each(t, store.Limits{Affiliates: 2, Endpoints: 2}, func(t *testing.T, s server.Store) {
		update(t, s, "c", "a", "1", in(30), "x")
		update(t, s, "c", "b", "2", in(30))
		if err := s.Update(t.Context(), "c", toUpdate("c", "3", in(30))); !errors.Is(err, store.ErrTooManyAffiliates) {
			t.Errorf("a third affiliate: %v", err)
		}
		if err := s.Update(t.Context(), "c", toUpdate("a", "new", in(30), "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
			t.Errorf("a third endpoint: %v", err)
		}
		if err := s.Update(t.Context(), "new", toUpdate("a", "1", in(30), "x", "y", "z")); !errors.Is(err, store.ErrTooManyEndpoints) {
			t.Errorf("three endpoints at once: %v", err)
		}
		update(t, s, "c", "a", "1", in(30), "x", "y", "y")
		expect(t, s, "c", "a=1[x y]", "b=2[]")
		expect(t, s, "new")
	})
}

// next reads the changes that are queued, in a few letters.
func next(t *testing.T, w *store.Watcher) (out []string) {
	t.Helper()
	events, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Deleted {
			out = append(out, "-"+e.Affiliate.ID)
		} else {
			out = append(out, "+"+show(e.Affiliate))
		}
	}
	return out
}

func TestWatch(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		update(t, s, "c", "a", "1", in(30))
		there, w, err := s.Watch(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if len(there.Affiliates) != 1 || show(there.Affiliates[0]) != "a=1[]" {
			t.Errorf("at first there is %v", there)
		}
		update(t, s, "c", "a", "1", in(40)) // a refresh is no change
		update(t, s, "elsewhere", "a", "1", in(30))
		update(t, s, "c", "b", "2", in(10), "x")
		if got := next(t, w); !slices.Equal(got, []string{"+b=2[x]"}) {
			t.Errorf("got %v", got)
		}
		update(t, s, "c", "a", "new", in(30))
		if got := next(t, w); !slices.Equal(got, []string{"+a=new[]"}) {
			t.Errorf("got %v", got)
		}
		if err := s.Delete(t.Context(), "c", "a"); err != nil {
			t.Fatal(err)
		}
		if got := next(t, w); !slices.Equal(got, []string{"-a"}) {
			t.Errorf("got %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestWatchTellsOfWhatExpires(t *testing.T) {
	eachTimed(t, store.Limits{}, func(t *testing.T, s server.Store) {
		_, w, err := s.Watch(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		update(t, s, "c", "a", "1", in(30), "x")
		update(t, s, "c", "a", "", in(10), "y")
		update(t, s, "c", "b", "2", in(10))
		next(t, w)
		expire(t, s, in(10))
		got := next(t, w)
		slices.Sort(got)
		if !slices.Equal(got, []string{"+a=1[x]", "-b"}) {
			t.Errorf("got %v", got)
		}
	})
}

// TestConcurrentUse has writers and a watcher, which must end up with what List
// says.
func TestConcurrentUse(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		_, w, err := s.Watch(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		const writers, rounds = 8, 30
		var group sync.WaitGroup
		for n := range writers {
			group.Go(func() {
				for i := range rounds {
					id := fmt.Sprintf("a%d", n)
					if err := s.Update(t.Context(), "c", toUpdate(id, fmt.Sprint(i), in(30))); err != nil {
						t.Error(err)
					}
					if i%7 == 3 {
						if err := s.Delete(t.Context(), "c", id); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		seen := map[string]string{}
		want := fmt.Sprint(rounds - 1)
		for done := false; !done; {
			changes, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				data, _ := c.Affiliate.Parts()
				seen[c.Affiliate.ID] = string(data)
				if c.Deleted {
					delete(seen, c.Affiliate.ID)
				}
			}
			done = len(seen) == writers
			for _, data := range seen {
				done = done && data == want
			}
		}
		group.Wait()
		if got := list(t, s, "c"); len(got) != writers {
			t.Errorf("there are %v", got)
		}
	})
}

// TestSlowWatcherStartsOver has one that never reads.
func TestSlowWatcherStartsOver(t *testing.T) {
	s := store.NewMemory(store.Limits{})
	_, slow, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	_, quick, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	const changes = 10_000
	seen := 0
	for i := range changes {
		update(t, s, "c", "a", fmt.Sprint(i), in(30))
		if i%1000 == 999 {
			for _, line := range next(t, quick) {
				if want := fmt.Sprintf("+a=%d[]", seen); line != want {
					t.Fatalf("got %s, want %s", line, want)
				}
				seen++
			}
		}
	}
	if seen != changes {
		t.Errorf("the quick watcher saw %d of %d changes", seen, changes)
	}
	for range 2 {
		if events, err := slow.Next(t.Context()); !errors.Is(err, store.ErrLagging) {
			t.Errorf("the slow watcher got %d changes, %v", len(events), err)
		}
	}
}

func TestPin(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		check := func(cluster, hash string, now time.Time, want bool) {
			t.Helper()
			if ok, err := s.Pin(t.Context(), cluster, []byte(hash), now); err != nil || ok != want {
				t.Errorf("%s with %s: %v, %v", cluster, hash, ok, err)
			}
		}
		check("c", "one", start, true)
		check("c", "two", start, false)
		check("c", "one", in(10), true)
		check("d", "two", start, true)
	})
	eachTimed(t, store.Limits{}, func(t *testing.T, s server.Store) {
		for cluster, used := range map[string]time.Time{"early": start, "late": in(10)} {
			if ok, err := s.Pin(t.Context(), cluster, []byte("one"), used); err != nil || !ok {
				t.Fatalf("%v, %v", ok, err)
			}
		}
		expire(t, s, start.Add(store.PinLifetime))
		for cluster, want := range map[string]bool{"early": true, "late": false} {
			if ok, err := s.Pin(t.Context(), cluster, []byte("two"), in(20)); err != nil || ok != want {
				t.Errorf("%s has another pin: %v, %v", cluster, ok, err)
			}
		}
	})
}

func TestWire(t *testing.T) {
	s := store.NewMemory(store.Limits{})
	update(t, s, "c", "a", "1", in(30), "x", "y")
	update(t, s, "c", "b", "", in(30), "z")
	_, w, err := s.Watch(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	all, err := s.List(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, "c", "a", "2", in(30))
	update(t, s, "c", "b", "3", in(30))
	for _, id := range []string{"a", "b"} {
		if err := s.Delete(t.Context(), "c", id); err != nil {
			t.Fatal(err)
		}
	}
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 4 {
		t.Fatalf("%v, %v", events, err)
	}
	for name, c := range map[string]struct {
		wire []byte
		want string
	}{
		"a snapshot":    {all.Wire(), `affiliates:{id:"a" data:"1" endpoints:"x" endpoints:"y"} affiliates:{id:"b" endpoints:"z"}`},
		"one change":    {store.EncodeEvents(events[:1]), `affiliates:{id:"a" data:"2" endpoints:"x" endpoints:"y"}`},
		"two changes":   {store.EncodeEvents(events[:2]), `affiliates:{id:"a" data:"2" endpoints:"x" endpoints:"y"} affiliates:{id:"b" data:"3" endpoints:"z"}`},
		"two deletions": {store.EncodeEvents(events[2:]), `affiliates:{id:"a"} affiliates:{id:"b"} deleted:true`},
	} {
		var got, want serverpb.WatchResponse
		if err := proto.Unmarshal(c.wire, &got); err != nil {
			t.Fatal(err)
		}
		if err := prototext.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, &want) {
			t.Errorf("%s is %v, want %v", name, &got, &want)
		}
	}
}

func openBolt(t *testing.T, path string) *store.Bolt {
	t.Helper()
	s, err := store.OpenBolt(path, store.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBoltRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	update(t, s, "c", "a", "1", in(30), "x")
	update(t, s, "c", "a", "", in(10), "y")
	update(t, s, "c", "gone", "2", in(30))
	if ok, err := s.Pin(t.Context(), "c", []byte("one"), start); !ok || err != nil {
		t.Errorf("pin: %v, %v", ok, err)
	}
	update(t, s, "empty", "a", "3", in(30))
	for cluster, id := range map[string]string{"c": "gone", "empty": "a"} {
		if err := s.Delete(t.Context(), cluster, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openBolt(t, path)
	expect(t, s, "c", "a=1[x y]")
	expect(t, s, "empty")
	if ok, err := s.Pin(t.Context(), "c", []byte("two"), start); ok || err != nil {
		t.Errorf("another pin was taken: %v, %v", ok, err)
	}
	expire(t, s, in(10))
	expect(t, s, "c", "a=1[x]")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openBolt(t, path)
	defer func() { _ = s.Close() }()
	expect(t, s, "c", "a=1[x]")
	expire(t, s, in(30))
	expect(t, s, "c")
}

func TestBoltSaysWhyItDoesNotOpen(t *testing.T) {
	dir := t.TempDir()
	_, err := store.OpenBolt(filepath.Join(dir, "missing", "db"), store.Limits{})
	if err == nil || !strings.Contains(err.Error(), "open the store") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	stores := map[string]func() (server.Store, error){
		"memory": func() (server.Store, error) { return store.NewMemory(store.Limits{}), nil },
		"bolt": func() (server.Store, error) {
			return store.OpenBolt(filepath.Join(b.TempDir(), "db"), store.Limits{})
		},
	}
	for name, open := range stores {
		b.Run(name, func(b *testing.B) {
			s, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if err := s.Update(b.Context(), fmt.Sprint(i%100), toUpdate(fmt.Sprint(i%50), fmt.Sprint(i), in(30), "x")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkFanout is an update that every watcher of a cluster hears of.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", n), func(b *testing.B) {
			s := store.NewMemory(store.Limits{})
			watchers := make([]*store.Watcher, n)
			for i := range watchers {
				var err error
				if _, watchers[i], err = s.Watch(b.Context(), "c"); err != nil {
					b.Fatal(err)
				}
				defer watchers[i].Close()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Update(b.Context(), "c", toUpdate("a", fmt.Sprint(i), in(30), "x")); err != nil {
					b.Fatal(err)
				}
				for _, w := range watchers {
					if events, err := w.Next(b.Context()); err != nil || len(store.EncodeEvents(events)) == 0 {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkList is a cluster that changes before it is asked for.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("affiliates=%d", n), func(b *testing.B) {
			s := store.NewMemory(store.Limits{})
			for i := range n {
				if err := s.Update(b.Context(), "c", toUpdate(fmt.Sprint(i), strings.Repeat("x", 256), in(30), "x", "y")); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Update(b.Context(), "c", toUpdate("0", fmt.Sprint(i), in(30))); err != nil {
					b.Fatal(err)
				}
				snapshot, err := s.List(b.Context(), "c")
				if err != nil || len(snapshot.Wire()) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}
