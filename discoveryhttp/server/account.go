package server

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// readingTime is how long a reader may leave something untaken when there is too much.
	readingTime = 5 * time.Second
	// relieveInterval is the least time between two attempts to make room, besides those for a
	// reader that begins.
	relieveInterval = 100 * time.Millisecond
	// choiceInterval is the least time between two choices of readers to be ended: each looks at
	// all readers.
	choiceInterval = 20 * time.Millisecond
	// roomTime is how long a reader who begins waits for room.
	roomTime = time.Second
)

// errNoRoom is the error of a reader who begins while there is no room for what it asks for.
var errNoRoom = errors.New("the server is sending too much: try again later")

// account counts what is encoded for readers, from before it is encoded until the last holder
// lets go, and bounds it. From three quarters of the limit on, room is made: caches are dropped,
// and then readers are ended, first those of the address that holds most. Snapshots take no
// more than seven eighths of the limit. What is left is for changes, which wait for room.
type account struct {
	limit int64
	// caches drops what is kept for readers to come.
	caches func()

	mu   sync.Mutex
	used int64
	// readers are those who may hold something, and waiting those who need room.
	readers, waiting map[*reader]struct{}
	// relieving is set while room is made, or was lately.
	relieving bool
	// chosen is when readers to be ended were last chosen.
	chosen time.Time
	// freed is closed when there is more room; nil if nobody waits for that.
	freed chan struct{}
}

func newAccount(limit int64, caches func()) *account {
	return &account{limit: orNone(limit), caches: caches, readers: map[*reader]struct{}{}, waiting: map[*reader]struct{}{}}
}

// most returns how much may be used: by snapshots, or by changes as well.
func (a *account) most(changes bool) int64 {
	if changes {
		return a.limit
	}
	return a.limit - a.limit/8
}

// crowded returns the use from which on room is made.
func (a *account) crowded() int64 { return a.limit - a.limit/4 }

// reserve counts bytes if there is room for them.
func (a *account) reserve(bytes int64, changes bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fits := bytes <= a.most(changes)-a.used
	if fits {
		a.used += bytes
	}
	if (!fits || a.used > a.crowded()) && !a.relieving {
		a.relieving = true
		go a.relieve()
	}
	return fits
}

// settle corrects what was reserved by a number of bytes.
func (a *account) settle(bytes int64) {
	if bytes == 0 {
		return
	}
	a.mu.Lock()
	a.used += bytes
	var woken []*reader
	if bytes < 0 && a.freed != nil {
		close(a.freed)
		a.freed = nil
	}
	if bytes < 0 && a.used <= a.crowded() {
		woken = a.wakeable()
	}
	a.mu.Unlock()
	for _, r := range woken {
		r.cluster.wake(r)
	}
}

// wait wakes a reader when there is room.
func (a *account) wait(r *reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[r] = struct{}{}
}

// reserveFor counts bytes for a reader at an address who begins. If there is too little room,
// readers are ended of whom none has more than its share, and the error is errNoRoom.
func (a *account) reserveFor(address netip.Addr, bytes int64) error {
	if a.reserve(bytes, false) {
		return nil
	}
	a.makeRoom(a.most(false)-bytes, address, bytes)
	if a.reserve(bytes, false) {
		return nil
	}
	return errNoRoom
}

// retry calls begin until its error is not errNoRoom, for roomTime at most. begin must hold
// nothing after that.
func (a *account) retry(ctx context.Context, begin func() error) error {
	ctx, cancel := context.WithTimeout(ctx, roomTime)
	defer cancel()
	for {
		freed := a.more()
		if err := begin(); !errors.Is(err, errNoRoom) {
			return err
		}
		// Perhaps somebody else is to be ended now.
		again := time.NewTimer(choiceInterval)
		select {
		case <-freed:
		case <-again.C:
		case <-ctx.Done():
			return connect.NewError(connect.CodeResourceExhausted, errNoRoom)
		}
		again.Stop()
	}
}

// more returns a channel that is closed when there is more room.
func (a *account) more() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.freed == nil {
		a.freed = make(chan struct{})
	}
	return a.freed
}

// open adds a reader, and close removes it.
func (a *account) open(r *reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.readers[r] = struct{}{}
}

func (a *account) close(r *reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.readers, r)
	delete(a.waiting, r)
}

// relieve makes room, and again while it is needed and nothing is freed.
func (a *account) relieve() {
	a.makeRoom(a.crowded(), netip.Addr{}, 0)
	time.AfterFunc(relieveInterval, func() {
		a.mu.Lock()
		a.relieving = a.used > a.crowded()
		again := a.relieving
		var woken []*reader
		if !again {
			woken = a.wakeable()
		}
		a.mu.Unlock()
		for _, r := range woken {
			r.cluster.wake(r)
		}
		if again {
			a.relieve()
		}
	})
}

// wakeable returns the readers that wait for room, who do so no longer. a.mu is held.
func (a *account) wakeable() []*reader {
	if len(a.waiting) == 0 {
		return nil
	}
	woken := slices.Collect(maps.Keys(a.waiting))
	clear(a.waiting)
	return woken
}

// makeRoom drops caches, and ends readers, until no more than a number of bytes is used, or will
// be. Readers are ended for an address that would not hold more than theirs with some bytes.
func (a *account) makeRoom(most int64, address netip.Addr, bytes int64) {
	if a.inUse() <= most {
		return
	}
	a.caches()
	excess := a.inUse() - most
	if excess <= 0 {
		return
	}
	now := time.Now()
	a.mu.Lock()
	if now.Sub(a.chosen) < choiceInterval {
		a.mu.Unlock()
		return
	}
	a.chosen = now
	readers := slices.Collect(maps.Keys(a.readers))
	a.mu.Unlock()
	holders := make([]holder, len(readers))
	for i, r := range readers {
		holders[i] = r.holds(now)
	}
	large := a.limit / 8
	if a.inUse() > a.most(false) {
		// Changes may have to wait for room: nobody has time.
		large = 0
	}
	for _, r := range chooseEnded(holders, excess, large, address, bytes) {
		r.end(errTooSlow)
	}
}

// collectors returns the metrics of the account.
func (a *account) collectors() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: "sent_bytes",
		Help: "What is encoded for readers and not taken, or kept for further ones, in bytes, as --max-sent counts it."},
		func() float64 { return float64(a.inUse()) })}
}

func (a *account) inUse() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// holder is what a reader holds: its share of what it has with others, in bytes, and for how
// long it has not taken the oldest of that.
type holder struct {
	reader  *reader
	address netip.Addr
	bytes   int64
	untaken time.Duration
}

// chooseEnded returns the readers that are ended to free some bytes. They are those of the
// address that holds most, first who has not taken anything for longest. Their address holds
// more than a large share; or they have had readingTime; or else all is for another address,
// which holds less than theirs, also with what it asks for.
func chooseEnded(holders []holder, excess, large int64, address netip.Addr, asked int64) (ended []*reader) {
	shares := map[netip.Addr]int64{}
	of := map[netip.Addr][]holder{}
	for _, h := range holders {
		if h.bytes > 0 {
			shares[h.address] += h.bytes
			of[h.address] = append(of[h.address], h)
		}
	}
	for _, some := range of {
		// The last is the first to be ended.
		slices.SortFunc(some, func(x, y holder) int { return int(x.untaken - y.untaken) })
	}
	for excess > 0 && len(shares) > 0 {
		top := largest(shares)
		most, last := shares[top], of[top][len(of[top])-1]
		fair := asked > 0 && top != address && most > shares[address]+asked
		if most <= large && last.untaken < readingTime && !fair {
			delete(shares, top)
			continue
		}
		ended = append(ended, last.reader)
		excess -= last.bytes
		shares[top] -= last.bytes
		if of[top] = of[top][:len(of[top])-1]; len(of[top]) == 0 {
			delete(shares, top)
		}
	}
	return ended
}

// largest returns the address with the largest share, the least of them.
func largest(shares map[netip.Addr]int64) (top netip.Addr) {
	most := int64(-1)
	for at, share := range shares {
		if share > most || share == most && at.Less(top) {
			top, most = at, share
		}
	}
	return top
}
