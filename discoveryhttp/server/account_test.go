package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/store"
)

func TestWhoIsEndedToMakeRoom(t *testing.T) {
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	hold := func(at netip.Addr, bytes int64, untaken time.Duration) holder {
		return holder{&reader{}, at, bytes, untaken}
	}
	for name, c := range map[string]struct {
		holders []holder
		excess  int64
		asks    netip.Addr
		asked   int64
		want    []int
	}{
		"an address with a large share, longest first": {
			[]holder{hold(one, 60, time.Second), hold(one, 60, 2*time.Second), hold(two, 20, 4*time.Second)}, 30, netip.Addr{}, 0, []int{1}},
		"until it has no large share": {
			[]holder{hold(one, 60, time.Second), hold(one, 60, 2*time.Second), hold(two, 20, 4*time.Second)}, 100, netip.Addr{}, 0, []int{1}},
		"those that have had their time, of whoever has most": {
			[]holder{hold(one, 30, time.Second), hold(two, 20, 6*time.Second), hold(three, 40, 7*time.Second)}, 30, netip.Addr{}, 0, []int{2}},
		"nobody, if all have little and are quick": {
			[]holder{hold(one, 50, time.Second), hold(two, 60, 2*time.Second)}, 100, netip.Addr{}, 0, nil},
		"one with more, for an address with less": {
			[]holder{hold(one, 50, time.Second), hold(two, 60, 2*time.Second), hold(three, 10, time.Second)}, 10, three, 20, []int{1}},
		"nobody, for one that would have more": {
			[]holder{hold(one, 50, time.Second), hold(two, 60, 2*time.Second), hold(three, 50, time.Second)}, 10, three, 20, nil},
		"nobody, for the one that has most": {
			[]holder{hold(one, 50, time.Second), hold(two, 60, 2*time.Second), hold(three, 70, time.Second)}, 10, three, 20, nil},
		"nobody who holds nothing": {
			[]holder{hold(one, 0, time.Hour)}, 10, netip.Addr{}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var want []*reader
			for _, i := range c.want {
				want = append(want, c.holders[i].reader)
			}
			if got := chooseEnded(c.holders, c.excess, 80, c.asks, c.asked); !slices.Equal(got, want) {
				t.Errorf("%d are ended, want %v", len(got), c.want)
			}
		})
	}
}

// TestChangesFindRoom has readers of many addresses that take nothing, none of which has much,
// and changes for one more.
func TestChangesFindRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const addresses = 24
		all := &clusters{byID: map[string]*cluster{}}
		all.account = newAccount(addresses*160<<10, all.dropCaches)
		s := &Server{account: all.account, closing: t.Context(), options: Options{Limits: Limits{Send: time.Minute}}}
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		var logs []*store.Log
		open := func(k byte, o *fakeOutlet) {
			log := store.NewLog(nil)
			logs = append(logs, log)
			calls.Go(func() {
				address := netip.AddrFrom4([4]byte{192, 0, 2, k})
				c, leave := all.join(fmt.Sprint(k))
				defer leave()
				_ = s.serve(ctx, newReader(o, address, c, nil, log.Watch(func() {})))
			})
			synctest.Wait()
		}
		for k := range byte(addresses) {
			open(k, &fakeOutlet{t: t, lazy: true})
		}
		one := &fakeOutlet{t: t}
		open(addresses, one)
		for _, log := range logs[:addresses] {
			for i := range 60 {
				log.Push(update(fmt.Sprint(i), strings.Repeat("x", 2000)))
			}
		}
		synctest.Wait()
		rest := all.account.limit - all.account.inUse()
		if !all.account.reserve(rest, true) {
			t.Fatal("there is no room for what is left")
		}
		logs[addresses].Push(update("a", "1"))
		time.Sleep(2 * relieveInterval)
		expect(t, one, "+a=1")
		all.account.settle(-rest)
		cancel()
		calls.Wait()
		time.Sleep(time.Minute)
		if used := all.account.inUse(); used != 0 {
			t.Errorf("%d bytes are used by nobody", used)
		}
	})
}

// TestSnapshotsAreBounded has readers of many large snapshots that take nothing.
func TestSnapshotsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := baseCost(snapshotOf(100), snapshotPart)
		all := &clusters{byID: map[string]*cluster{}}
		all.account = newAccount(8*one, all.dropCaches)
		s := &Server{account: all.account, closing: context.Background(), options: Options{Limits: Limits{Send: time.Minute}}}
		var calls sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		errs := map[string]error{}
		var mu sync.Mutex
		begin := func(name string, k byte) {
			address := netip.AddrFrom4([4]byte{192, 0, 2, k})
			calls.Go(func() {
				c, leave := all.join(name)
				defer leave()
				var messages []*message
				err := all.account.retry(ctx, func() (err error) {
					messages, err = c.start(snapshotOf(100), snapshotPart, address)
					return err
				})
				if err == nil {
					err = s.serve(ctx, newReader(&fakeOutlet{t: t, lazy: true}, address, c, messages, store.NewLog(nil).Watch(func() {})))
				}
				mu.Lock()
				defer mu.Unlock()
				errs[name] = err
			})
			synctest.Wait()
			if used := all.account.inUse(); used > 8*one {
				t.Errorf("%d bytes are used, more than %d", used, 8*one)
			}
		}
		for i := range 60 {
			begin(fmt.Sprint("greedy", i), 1)
			time.Sleep(10 * time.Millisecond)
		}
		begin("other", 2)
		time.Sleep(time.Second)
		synctest.Wait()
		refused, ended := 0, 0
		mu.Lock()
		for name, err := range errs {
			switch {
			case name == "other":
				t.Errorf("an address that holds little: %v", err)
			case connect.CodeOf(err) == connect.CodeResourceExhausted:
				refused++
			default:
				ended++
			}
		}
		mu.Unlock()
		if ended == 0 {
			t.Errorf("%d were refused, and none of the address that holds most was ended", refused)
		}
		cancel()
		calls.Wait()
		if used := all.account.inUse(); used != 0 {
			t.Errorf("%d bytes are used by nobody", used)
		}
		time.Sleep(time.Minute)
	})
}

// TestAccountReturnsToZero has readers of several clusters begin, take, lag, resynchronize and
// end as chance has it, with much room and with little.
func TestAccountReturnsToZero(t *testing.T) {
	for _, limit := range []int64{0, 4 << 20, 200 << 10} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%d bytes, seed %d", limit, seed), func(t *testing.T) {
				all := &clusters{byID: map[string]*cluster{}}
				all.account = newAccount(limit, all.dropCaches)
				kept := store.NewMemory(store.Limits{Backlog: 100 << 10})
				s := &Server{account: all.account, clusters: clusters{}, store: kept, closing: t.Context(), options: Options{Limits: Limits{Send: 20 * time.Millisecond}}}
				var work sync.WaitGroup
				for k := range uint64(6) {
					random := rand.New(rand.NewPCG(seed, k))
					work.Go(func() { writeAtRandom(t, kept, random) })
					work.Go(func() { readAtRandom(t, s, all, rand.New(rand.NewPCG(seed, 100+k)), byte(k)) })
				}
				work.Wait()
				all.dropCaches()
				until(t, func() bool { return all.account.inUse() == 0 && kept.Stats().Watchers == 0 })
				if err := kept.Expire(time.Now()); err != nil {
					t.Fatal(err)
				}
				if backlog := kept.Stats().Backlog; backlog != 0 {
					t.Errorf("%d bytes of changes are kept for nobody", backlog)
				}
				if len(all.byID) != 0 {
					t.Errorf("%d clusters are kept for nobody", len(all.byID))
				}
			})
		}
	}
}

func writeAtRandom(t *testing.T, s *store.Memory, random *rand.Rand) {
	for range 500 {
		u := store.Update{ID: fmt.Sprint(random.IntN(40)), Data: []byte(strings.Repeat("x", random.IntN(2000))), Now: time.Now(), TTL: time.Hour}
		cluster := fmt.Sprint(random.IntN(3))
		if random.IntN(5) == 0 {
			_ = s.Delete(t.Context(), cluster, u.ID)
		} else if err := s.Update(t.Context(), cluster, u); err != nil {
			t.Error(err)
		}
	}
}

// readAtRandom watches and lists, and takes some of what it gets.
func readAtRandom(t *testing.T, s *Server, all *clusters, random *rand.Rand, k byte) {
	address := netip.AddrFrom4([4]byte{192, 0, 2, k})
	var calls sync.WaitGroup
	for range 60 {
		id := fmt.Sprint(random.IntN(3))
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(30))*time.Millisecond)
		part := []int{snapshotPart, 20 << 10}[random.IntN(2)]
		takes, lists := random.IntN(20), random.IntN(3) == 0
		calls.Go(func() {
			defer cancel()
			c, leave := all.join(id)
			defer leave()
			var messages []*message
			var w *store.Watcher
			var err error
			if lists {
				var snapshot *store.Snapshot
				if snapshot, err = s.store.List(ctx, id); err == nil {
					messages, err = c.encodeAlone(ctx, snapshot, address)
				}
			} else if messages, w, err = s.beginWatch(ctx, c, call{caller: address}, id, nil, part); err == nil {
				defer w.Close()
			}
			if err != nil {
				return
			}
			o := &fakeOutlet{t: t, lazy: true}
			r := newReader(o, address, c, messages, w)
			var taking sync.WaitGroup
			taking.Go(func() {
				for range takes {
					o.take()
					time.Sleep(time.Millisecond)
				}
			})
			_ = s.serve(ctx, r)
			taking.Wait()
		})
		time.Sleep(time.Millisecond)
	}
	calls.Wait()
}

func (c *cluster) encodeAlone(ctx context.Context, s *store.Snapshot, address netip.Addr) ([]*message, error) {
	end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return c.encode(s, maxConnectList, address)
}

// until waits until something is so.
func until(t *testing.T, isSo func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !isSo() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal("it does not become so")
		}
	}
}
