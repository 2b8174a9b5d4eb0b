package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// fakeOutlet is a reader's end. It takes what is delivered when takes is called, or at once.
type fakeOutlet struct {
	t *testing.T
	// lazy leaves what is delivered until take is called.
	lazy bool
	// deaf does not keep what is delivered.
	deaf bool

	mu        sync.Mutex
	messages  []*serverpb.WatchResponse
	untaken   []*delivery
	abandoned bool
}

func (o *fakeOutlet) deliver(d *delivery) error {
	if o.deaf {
		go d.finish()
		return nil
	}
	decoded := &serverpb.WatchResponse{}
	if err := proto.Unmarshal(d.m.wire, decoded); err != nil {
		o.t.Error(err)
	}
	o.mu.Lock()
	o.messages = append(o.messages, decoded)
	if o.lazy {
		o.untaken = append(o.untaken, d)
		o.mu.Unlock()
		return nil
	}
	o.mu.Unlock()
	// The real ones release from other goroutines.
	go d.finish()
	return nil
}

func (*fakeOutlet) pending() <-chan struct{} { return nil }
func (*fakeOutlet) write() error             { return nil }
func (o *fakeOutlet) abandon(*reader)        { o.abandoned = true }

// close drops what is untaken.
func (o *fakeOutlet) close() *grpcConn {
	for o.take() {
	}
	return nil
}

// take takes the first message that is untaken. It reports false if there is none.
func (o *fakeOutlet) take() bool {
	o.mu.Lock()
	if len(o.untaken) == 0 {
		o.mu.Unlock()
		return false
	}
	d := o.untaken[0]
	o.untaken = o.untaken[1:]
	o.mu.Unlock()
	d.finish()
	return true
}

// text returns the messages since the last call as "+id=data … more" and "-id …".
func (o *fakeOutlet) text() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for _, m := range o.messages {
		var words []string
		for _, a := range m.GetAffiliates() {
			if m.GetDeleted() {
				words = append(words, "-"+a.GetId())
				continue
			}
			words = append(words, fmt.Sprintf("+%s=%s", a.GetId(), a.GetData()))
		}
		if m.GetMore() {
			words = append(words, "more")
		}
		all = append(all, strings.Join(words, " "))
	}
	o.messages = nil
	return all
}

// someone is the address of a reader.
var someone = netip.MustParseAddr("192.0.2.1")

// testCluster returns a cluster whose readers may have as much as they like.
func testCluster() *cluster { return newCluster(newAccount(0, func() {})) }

// reading returns a reader of a cluster, with an outlet, of the changes in a log.
func reading(t *testing.T, c *cluster, log *store.Log, snapshot *store.Snapshot) (*reader, *fakeOutlet) {
	t.Helper()
	o := &fakeOutlet{t: t}
	messages, err := c.start(snapshot, snapshotPart, someone)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(o, someone, c, messages, log.Watch(func() {}))
	r.flush()
	r.watcher.Notify(func() { c.wake(r) })
	return r, o
}

func update(id, data string) *store.Event {
	return store.NewUpdate(store.NewAffiliate(id, []byte(data), nil))
}

func expect(t *testing.T, o *fakeOutlet, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := o.text(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestChangesThatWaitTogether pushes changes while a reader does not take the first one.
func TestChangesThatWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := store.NewLog(nil)
		_, o := reading(t, testCluster(), log, store.NewSnapshot(nil))
		expect(t, o, "")
		o.lazy = true
		large := strings.Repeat("x", sendWindow)
		log.Push(update("first", large))
		expect(t, o, "+first="+large)
		for _, e := range []*store.Event{update("a", "1"), update("b", "1"), update("a", "2"), store.NewDeletion("b"), update("c", "1"),
			store.NewDeletion("d"), update("d", "1")} {
			log.Push(e)
		}
		expect(t, o)
		o.take()
		expect(t, o, "+b=1 +a=2 +c=1 +d=1", "-b")
	})
}

// TestReadersShareEncodings sends a change to many readers.
func TestReadersShareEncodings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := testCluster(), store.NewLog(nil)
		var outlets []*fakeOutlet
		for range 100 {
			_, o := reading(t, c, log, store.NewSnapshot(nil))
			o.lazy = true
			outlets = append(outlets, o)
		}
		synctest.Wait()
		for i := range 3 {
			log.Push(update("a", fmt.Sprint(i)))
			synctest.Wait()
		}
		for _, o := range outlets {
			for i, d := range o.untaken {
				if d.m != outlets[0].untaken[i].m {
					t.Fatal("a message is encoded again")
				}
			}
			if got := o.text(); strings.Join(got[1:], " ") != "+a=0 +a=1 +a=2" {
				t.Fatalf("got %q", got)
			}
		}
	})
}

// TestLoadMakesChangesLinger pushes changes to many readers faster and faster.
func TestLoadMakesChangesLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := testCluster(), store.NewLog(nil)
		var readers []*reader
		for range 1000 {
			r, o := reading(t, c, log, store.NewSnapshot(nil))
			o.deaf = len(readers) > 0
			readers = append(readers, r)
		}
		// messages pushes changes at a rate for 5 s and returns how many messages a reader got.
		messages := func(perSecond int) int {
			for i := range 5 * perSecond {
				log.Push(update("a", fmt.Sprint(i)))
				time.Sleep(time.Second / time.Duration(perSecond))
			}
			time.Sleep(maxLinger)
			synctest.Wait()
			got := readers[0].outlet.(*fakeOutlet).text()
			if last := got[len(got)-1]; last != fmt.Sprintf("+a=%d", 5*perSecond-1) {
				t.Errorf("the last message is %q", last)
			}
			return len(got)
		}
		readers[0].outlet.(*fakeOutlet).text()
		for _, c := range []struct{ perSecond, least, most int }{
			{50, 250, 250}, // each is sent at once
			{300, 20, 150}, // four a second, after the load is noticed
			{10, 10, 50},
			{50, 250, 250},
		} {
			if got := messages(c.perSecond); got < c.least || got > c.most {
				t.Errorf("%d changes a second make %d messages in 5 s, want %d to %d", c.perSecond, got, c.least, c.most)
			}
		}
	})
}

// TestReaderThatTakesNothingIsEnded has readers of several speeds.
func TestReaderThatTakesNothingIsEnded(t *testing.T) {
	const patience = 10 * time.Second
	for name, c := range map[string]struct {
		// every is how often the reader takes a message.
		every time.Duration
		want  error
	}{
		"nothing":     {time.Hour, errTooSlow},
		"too slowly":  {20 * time.Second, errTooSlow},
		"just enough": {9 * time.Second, context.DeadlineExceeded},
		"all it can":  {time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := store.NewLog(nil)
				r, o := reading(t, testCluster(), log, store.NewSnapshot(nil))
				o.lazy = true
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				var all sync.WaitGroup
				all.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						log.Push(update(fmt.Sprint(i), strings.Repeat("x", 2000)))
						time.Sleep(time.Second)
					}
				})
				all.Go(func() {
					for ctx.Err() == nil {
						time.Sleep(c.every)
						o.take()
					}
				})
				started := time.Now()
				if err := r.wait(ctx, context.Background(), patience); !errors.Is(err, c.want) {
					t.Errorf("ended with %v after %v", err, time.Since(started))
				}
				if errors.Is(c.want, errTooSlow) && time.Since(started) > 2*patience {
					t.Errorf("ended after %v", time.Since(started))
				}
				if r.untaken.Load() > 2*sendWindow {
					t.Errorf("%d bytes are untaken", r.untaken.Load())
				}
				cancel()
				all.Wait()
			})
		})
	}
}

// snapshotOf returns n affiliates of 1,000 bytes; those of changed have other data.
func snapshotOf(n int, changed ...int) *store.Snapshot {
	affiliates := make([]store.Affiliate, n)
	for i := range affiliates {
		affiliates[i] = store.NewAffiliate(fmt.Sprintf("%06d", i), []byte(strings.Repeat("x", 1000)), nil)
	}
	for _, i := range changed {
		affiliates[i] = store.NewAffiliate(affiliates[i].ID, []byte("changed"), nil)
	}
	return store.NewSnapshot(affiliates)
}

// TestNewReadersShareASnapshot has readers come while a large cluster changes.
func TestNewReadersShareASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testCluster()
		defer c.drop()
		encoded := map[*message]bool{}
		for i := range 50 {
			messages, err := c.start(snapshotOf(1000-i, i), 200<<10, someone)
			if err != nil {
				t.Fatal(err)
			}
			known := map[string]string{}
			for _, m := range messages {
				encoded[m] = encoded[m] || len(m.wire) > smallSnapshot
				var response serverpb.WatchResponse
				if err := proto.Unmarshal(m.wire, &response); err != nil {
					t.Fatal(err)
				}
				for _, a := range response.GetAffiliates() {
					known[a.GetId()] = string(a.GetData())
					if response.GetDeleted() {
						delete(known, a.GetId())
					}
				}
			}
			if len(known) != 1000-i || known[fmt.Sprintf("%06d", i)] != "changed" || i > 0 && known["000000"] == "changed" {
				t.Fatalf("reader %d knows %d affiliates", i, len(known))
			}
		}
		large := 0
		for _, isLarge := range encoded {
			if isLarge {
				large++
			}
		}
		if large > 10 {
			t.Errorf("50 readers of 1 MB have %d large messages", large)
		}
	})
}

// TestCopiesAreBounded has a caller that takes all it may, and another.
func TestCopiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perCaller = 64 << 20
		c := newCopies(2*perCaller, perCaller)
		acquire := func(caller byte, size int64) (func(), error) {
			return c.acquire(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, caller}), size)
		}
		first, err := acquire(1, perCaller)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := acquire(1, 1<<20); connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("one more copy: %v", err)
		}
		if small, err := acquire(1, 100); err != nil {
			t.Errorf("a small copy: %v", err)
		} else {
			small()
		}
		second, err := acquire(2, 1<<20)
		if err != nil {
			t.Errorf("another caller: %v", err)
		}
		time.AfterFunc(copyTimeout/2, first)
		third, err := acquire(1, 1<<20)
		if err != nil {
			t.Errorf("a copy that waits: %v", err)
		}
		second()
		third()
		if len(c.callers) != 0 {
			t.Errorf("%d callers without copies are kept", len(c.callers))
		}
	})
}

func TestMessagePieces(t *testing.T) {
	for _, size := range []int{0, 1, 1024, pieceSize - 1, pieceSize, pieceSize + countableSize, 5 * pieceSize, 3<<20 + 1} {
		m := newMessage(nil, make([]byte, size))
		sum := 0
		for _, p := range m.pieces {
			if cap(p) < countableSize {
				t.Errorf("%d bytes have a piece with room for %d", size, cap(p))
			}
			sum += len(p)
		}
		if sum != size || len(m.wire) != size {
			t.Errorf("%d bytes have pieces of %d", size, sum)
		}
	}
}

// TestReadersShareChanges has readers come after most of a large cluster was deleted, and while
// it changes further: none has changes of its own.
func TestReadersShareChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testCluster()
		start := func(s *store.Snapshot) []*message {
			messages, err := c.start(s, snapshotPart, someone)
			if err != nil {
				t.Fatal(err)
			}
			return messages
		}
		first := snapshotOf(5000)
		releaseAll(start(first))
		all := map[*message]bool{}
		longest := 0
		for i := range 400 {
			messages := start(snapshotOf(200, i/2%200))
			longest = max(longest, len(messages))
			for _, m := range messages {
				all[m] = true
			}
			releaseAll(messages)
		}
		if len(all) > 850 || longest > 20 {
			t.Errorf("400 readers have %d messages, and one has %d", len(all), longest)
		}
		if most := int64(first.Size()) * 5 / 2; c.account.inUse() > most {
			t.Errorf("what they share is counted as %d bytes, want %d at most", c.account.inUse(), most)
		}
		c.drop()
		if used := c.account.inUse(); used != 0 {
			t.Errorf("%d bytes are counted for nothing", used)
		}
	})
}

// TestLaggingReaderHasLittleForItself has readers that take what they have at different times,
// so that none has the same changes as another.
func TestLaggingReaderHasLittleForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log := testCluster(), store.NewLog(nil)
		readers := make([]*reader, 20)
		for i := range readers {
			r := newReader(&fakeOutlet{t: t, lazy: true}, someone, c, nil, log.Watch(func() {}))
			r.watcher.Notify(func() { c.wake(r) })
			readers[i] = r
		}
		push := func(n int) {
			for i := range n {
				e := store.NewUpdate(store.NewAffiliate(fmt.Sprint(i), []byte(strings.Repeat("x", 1000)), nil))
				log.Push(e)
				synctest.Wait()
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		takeAll := func(r *reader) {
			for r.untaken.Load() > 0 {
				r.outlet.(*fakeOutlet).take()
				synctest.Wait()
			}
		}
		push(100)
		for _, r := range readers {
			r.outlet.(*fakeOutlet).take()
			push(1)
			for range 10 {
				r.outlet.(*fakeOutlet).take()
				synctest.Wait()
				if got := r.untaken.Load(); got > sendWindow+laggingPart {
					t.Fatalf("a reader that lags has %d bytes of its own", got)
				}
			}
		}
		for _, r := range readers {
			takeAll(r)
		}
		push(1)
		for _, r := range readers {
			r.mu.Lock()
			if r.lags {
				t.Error("a reader that has taken all lags still")
			}
			r.mu.Unlock()
			takeAll(r)
		}
	})
}

// TestCallsShareNoError has calls end at once for the same reason: whoever sends an error may
// change it.
func TestCallsShareNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := testCluster()
		s := &Server{account: cluster.account, closing: t.Context(), options: Options{Limits: Limits{Send: time.Second}}}
		c := newCopies(1<<20, 1<<20)
		if _, err := c.acquire(t.Context(), netip.Addr{}, 1<<20); err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"a reader that takes nothing": func() error {
				messages, err := cluster.start(snapshotOf(1), snapshotPart, someone)
				if err != nil {
					return err
				}
				r := newReader(&fakeOutlet{t: t, lazy: true}, someone, cluster, messages, nil)
				return s.serve(t.Context(), r)
			},
			"no room for a copy": func() error {
				_, err := c.acquire(t.Context(), netip.Addr{}, 1<<20)
				return err
			},
		} {
			var one, two *connect.Error
			if !errors.As(call(), &one) || !errors.As(call(), &two) || one == two {
				t.Errorf("%s: the errors of two calls are %p and %p", name, one, two)
			}
		}
	})
}
