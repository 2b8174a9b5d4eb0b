package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// each runs a test on an empty store of each kind.
func each(t *testing.T, limits store.Limits, test func(t *testing.T, s server.Store)) {
	t.Helper()
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) { test(t, open(t, limits)) })
	}
}

// kinds are the stores of this package.
var kinds = map[string]func(*testing.T, store.Limits) server.Store{
	"memory": func(_ *testing.T, limits store.Limits) server.Store { return store.NewMemory(limits) },
	"bolt": func(t *testing.T, limits store.Limits) server.Store {
		s, err := store.OpenBolt(filepath.Join(t.TempDir(), "db"), limits)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	},
}

func TestConformance(t *testing.T) {
	for name, open := range kinds {
		t.Run(name, func(t *testing.T) { storetest.Run(t, open) })
	}
}

func expire(t *testing.T, s server.Store, now time.Time) {
	t.Helper()
	if err := s.Expire(now); err != nil {
		t.Fatal(err)
	}
}

func TestExpiry(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x")
		storetest.Update(t, s, "c", "a", "", storetest.In(10), "y")
		storetest.Update(t, s, "c", "short", "2", storetest.In(5))
		storetest.Update(t, s, "c", "nameless", "", storetest.In(20), "z")
		expire(t, s, storetest.In(5).Add(-time.Second))
		storetest.Expect(t, s, "c", "a=1[x y]", "nameless=[z]", "short=2[]")
		expire(t, s, storetest.In(5))
		storetest.Expect(t, s, "c", "a=1[x y]", "nameless=[z]")
		expire(t, s, storetest.In(10))
		storetest.Expect(t, s, "c", "a=1[x]", "nameless=[z]")
		expire(t, s, storetest.In(20))
		storetest.Expect(t, s, "c", "a=1[x]")
		t.Run("an update by others never shortens a life", func(t *testing.T) {
			storetest.Update(t, s, "c", "a", "", storetest.In(1), "x")
			expire(t, s, storetest.In(29))
			storetest.Expect(t, s, "c", "a=1[x]")
		})
		t.Run("endpoints do not extend the life of their affiliate", func(t *testing.T) {
			storetest.Update(t, s, "c", "a", "", storetest.In(90), "x", "w")
			expire(t, s, storetest.In(30))
			storetest.Expect(t, s, "c")
		})
		t.Run("the affiliate's own update may shorten its life", func(t *testing.T) {
			storetest.Update(t, s, "c", "b", "1", storetest.In(90), "x")
			storetest.Update(t, s, "c", "b", "1", storetest.In(40))
			expire(t, s, storetest.In(39))
			storetest.Expect(t, s, "c", "b=1[x]")
			expire(t, s, storetest.In(40))
			storetest.Expect(t, s, "c")
		})
		t.Run("an affiliate of nothing lives as long as its update says", func(t *testing.T) {
			storetest.Update(t, s, "c", "empty", "", storetest.In(90))
			expire(t, s, storetest.In(89))
			storetest.Expect(t, s, "c", "empty=[]")
			expire(t, s, storetest.In(90))
			storetest.Expect(t, s, "c")
		})
	})
}

func TestClusterLimit(t *testing.T) {
	each(t, store.Limits{Clusters: 2}, func(t *testing.T, s server.Store) {
		storetest.Update(t, s, "a", "x", "1", storetest.In(30))
		_, w, err := s.Watch(t.Context(), "b", netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(t.Context(), "c", storetest.NewUpdate("x", "1", storetest.In(30))); !errors.Is(err, store.ErrTooManyClusters) {
			t.Errorf("a third cluster: %v", err)
		}
		if _, _, err := s.Watch(t.Context(), "c", netip.Addr{}, nil); !errors.Is(err, store.ErrTooManyClusters) {
			t.Errorf("a watch of a third cluster: %v", err)
		}
		if got := storetest.Counts(s); got != (store.Stats{Clusters: 2, Affiliates: 1, Watchers: 1}) {
			t.Errorf("stats are %+v", got)
		}
		w.Close()
		storetest.Update(t, s, "c", "x", "1", storetest.In(30))
	})
}

func TestWatchSendsExpiries(t *testing.T) {
	each(t, store.Limits{}, func(t *testing.T, s server.Store) {
		_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x")
		storetest.Update(t, s, "c", "a", "", storetest.In(10), "y")
		storetest.Update(t, s, "c", "b", "2", storetest.In(10))
		storetest.Next(t, w)
		expire(t, s, storetest.In(10))
		got := storetest.Next(t, w)
		slices.Sort(got)
		if !slices.Equal(got, []string{"+a=1[x]", "-b"}) {
			t.Errorf("got %v", got)
		}
	})
}

// TestSlowWatcherMustResync has a watcher that never reads.
func TestSlowWatcherMustResync(t *testing.T) {
	s := store.NewMemory(store.Limits{})
	_, slow, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	_, quick, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	const changes = 10_000
	seen := 0
	for i := range changes {
		storetest.Update(t, s, "c", "a", fmt.Sprint(i), storetest.In(30))
		if i%1000 == 999 {
			for _, line := range storetest.Next(t, quick) {
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
		if events, err := slow.Next(t.Context()); !errors.Is(err, store.ErrResync) {
			t.Errorf("the slow watcher got %d changes, %v", len(events), err)
		}
	}
}

// TestWatcherMissesNothingWhileManyJoin has 5,000 machines join before a watcher reads.
func TestWatcherMissesNothingWhileManyJoin(t *testing.T) {
	s := store.NewMemory(store.Limits{})
	_, busy, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	const machines = 5_000
	affiliate := strings.Repeat("x", 1000)
	for i := range machines {
		storetest.Update(t, s, "c", strconv.Itoa(i), affiliate, storetest.In(30))
	}
	if events, err := busy.Next(t.Context()); err != nil || len(events) != machines {
		t.Errorf("the watcher got %d of %d changes, %v", len(events), machines, err)
	}
}

// TestUnusedPinExpires has pins that were in use for no time, for a day and for a year.
func TestUnusedPinExpires(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct{ used, lasts time.Duration }{
		"once":       {0, 10 * time.Minute},
		"for a day":  {day, day},
		"for a year": {365 * day, 30 * day},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, store.Limits{}, func(t *testing.T, s server.Store) {
				last := storetest.Start.Add(c.used)
				for _, now := range []time.Time{storetest.Start, last} {
					if err := storetest.UpdateAs(t, s, "one", "c", "a", "1", now); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Delete(t.Context(), "c", "a"); err != nil {
					t.Fatal(err)
				}
				expire(t, s, last.Add(c.lasts-time.Second))
				storetest.ExpectAdmits(t, s, "c", false, "two")
				expire(t, s, last.Add(c.lasts))
				storetest.ExpectAdmits(t, s, "c", true, "two")
				if got := storetest.Counts(s); got != (store.Stats{}) {
					t.Errorf("the stats are %+v", got)
				}
			})
		})
	}
}

// TestSuspension has a server that does nothing for 31 minutes, and one whose clock is set.
func TestSuspension(t *testing.T) {
	const minute = time.Minute
	for name, step := range map[string]time.Duration{"suspended": 31 * minute, "for a day": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := store.NewMemory(store.Limits{})
				u := storetest.NewUpdate("a", "1", storetest.Start)
				u.Now, u.TTL = time.Now(), 30*minute
				if err := s.Update(t.Context(), "c", u); err != nil {
					t.Fatal(err)
				}
				run := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(15 * time.Second) {
						expire(t, s, time.Now())
					}
				}
				run(10 * minute)
				time.Sleep(step)
				run(19 * minute)
				storetest.Expect(t, s, "c", "a=1[]")
				run(2 * minute)
				storetest.Expect(t, s, "c")
			})
		})
	}
}

func TestEncoding(t *testing.T) {
	s := store.NewMemory(store.Limits{})
	storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x", "y")
	storetest.Update(t, s, "c", "b", "", storetest.In(30), "z")
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	all, err := s.List(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Update(t, s, "c", "a", "2", storetest.In(30))
	storetest.Update(t, s, "c", "b", "3", storetest.In(30))
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

func BenchmarkUpdate(b *testing.B) {
	stores := map[string]func() server.Store{
		"memory": func() server.Store { return store.NewMemory(store.Limits{}) },
		"bolt": func() server.Store {
			s, err := store.OpenBolt(filepath.Join(b.TempDir(), "db"), store.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			return s
		},
	}
	for name, open := range stores {
		b.Run(name, func(b *testing.B) {
			s := open()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if err := s.Update(b.Context(), fmt.Sprint(i%100), storetest.NewUpdate(fmt.Sprint(i%50), fmt.Sprint(i), storetest.In(30), "x")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkFanout measures an update that is sent to every watcher of a cluster.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", n), func(b *testing.B) {
			s := store.NewMemory(store.Limits{})
			watchers := make([]*store.Watcher, n)
			for i := range watchers {
				var err error
				if _, watchers[i], err = s.Watch(b.Context(), "c", netip.Addr{}, nil); err != nil {
					b.Fatal(err)
				}
				defer watchers[i].Close()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Update(b.Context(), "c", storetest.NewUpdate("a", fmt.Sprint(i), storetest.In(30), "x")); err != nil {
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

// BenchmarkList measures a list of a cluster that has changed since the last one.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("affiliates=%d", n), func(b *testing.B) {
			s := store.NewMemory(store.Limits{})
			for i := range n {
				if err := s.Update(b.Context(), "c", storetest.NewUpdate(fmt.Sprint(i), strings.Repeat("x", 256), storetest.In(30), "x", "y")); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := s.Update(b.Context(), "c", storetest.NewUpdate("0", fmt.Sprint(i), storetest.In(30))); err != nil {
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

// TestSnapshotInSeveralMessages splits a cluster at many sizes. The messages are those of the
// snapshot, none is larger than the limit, and all but the last say that there are more.
func TestSnapshotInSeveralMessages(t *testing.T) {
	affiliates := make([]store.Affiliate, 100)
	for i := range affiliates {
		affiliates[i] = store.NewAffiliate(fmt.Sprintf("%03d", i), []byte(strings.Repeat("x", i+1)), [][]byte{[]byte("e")})
	}
	for _, n := range []int{0, 1, 2, 100} {
		snapshot := store.NewSnapshot(affiliates[:n])
		for _, limit := range []int{1, 150, 1000, 5000, max(snapshot.Size()-1, 1), snapshot.Size(), 1 << 20} {
			messages := snapshot.Messages(limit)
			var all []byte
			for i, wire := range messages {
				var m serverpb.WatchResponse
				if err := proto.Unmarshal(wire, &m); err != nil {
					t.Fatal(err)
				}
				if len(wire) > limit && len(m.GetAffiliates()) > 1 {
					t.Errorf("%d affiliates: a message of %d bytes, limit %d", n, len(wire), limit)
				}
				if m.GetMore() != (i < len(messages)-1) {
					t.Errorf("%d affiliates: message %d of %d has more=%v", n, i, len(messages), m.GetMore())
				}
				m.More = false
				wire, err := proto.Marshal(&m)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, wire...)
			}
			if string(all) != string(snapshot.Wire()) {
				t.Errorf("%d affiliates in messages of %d bytes are not those of the snapshot", n, limit)
			}
		}
	}
}

// TestWatcherNotifies awaits events by callback.
func TestWatcherNotifies(t *testing.T) {
	log := store.NewLog(nil)
	w := log.Watch(func() {})
	calls := 0
	log.Push(store.NewDeletion("a"))
	w.Notify(func() { calls++ })
	if calls != 1 {
		t.Errorf("%d calls for what was there before", calls)
	}
	log.Push(store.NewDeletion("b"))
	r, _, err := w.Peek(store.BlockSize)
	if events, takeErr := w.Take(r); len(events) != 2 || err != nil || takeErr != nil || calls != 1 {
		t.Errorf("took %d events, %v, %v, after %d calls", len(events), err, takeErr, calls)
	}
	if r, _, err := w.Peek(store.BlockSize); !r.Empty() || err != nil {
		t.Errorf("there are %v, %v", r, err)
	}
	log.Push(store.NewDeletion("c"))
	w.End(store.ErrTooManyWatchers)
	log.Resync()
	log.Push(store.NewDeletion("d"))
	if r, _, err := w.Peek(store.BlockSize); !r.Empty() || !errors.Is(err, store.ErrTooManyWatchers) || calls != 3 {
		t.Errorf("there are %v, %v, after %d calls", r, err, calls)
	}
}

// BenchmarkEncodeEvents measures the message of a burst of updates.
func BenchmarkEncodeEvents(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			events := make([]*store.Event, n)
			for i := range events {
				events[i] = store.NewUpdate(store.NewAffiliate(fmt.Sprint(i), make([]byte, 256), [][]byte{make([]byte, 32), make([]byte, 32)}))
			}
			b.ReportAllocs()
			for b.Loop() {
				store.EncodeEvents(events)
			}
		})
	}
}
