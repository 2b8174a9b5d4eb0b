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
	// choiceInterval is the least time until room is made again for a reader that begins, who waits
	// for as long before the second attempt, and twice as long before each further one.
	choiceInterval = 20 * time.Millisecond
	// choiceRest is how many times as long as it takes to make room none is made afterwards: to do
	// so is to look at all clusters and readers.
	choiceRest = 4
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

	// choosing is locked while room is made. rested is when it may be made again.
	choosing sync.Mutex
	rested   time.Time
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
	return a.fit(bytes, changes)
}

// reserveOrWait counts bytes for changes if there is room for them. Otherwise the reader is woken
// when there is.
func (a *account) reserveOrWait(bytes int64, r *reader) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fits := a.fit(bytes, true)
	if !fits {
		a.waiting[r] = struct{}{}
	}
	return fits
}

// fit is reserve with a.mu held.
func (a *account) fit(bytes int64, changes bool) bool {
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
	if bytes < 0 {
		woken = a.wakeable()
	}
	a.mu.Unlock()
	for _, r := range woken {
		r.cluster.wake(r)
	}
}

// reserveFor counts bytes for a reader at an address who begins. If there is too little room, it
// ends readers of addresses that hold more. The error is errNoRoom if that does not help at once.
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
	for wait := choiceInterval; ; wait *= 2 {
		if err := begin(); !errors.Is(err, errNoRoom) {
			return err
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return connect.NewError(connect.CodeResourceExhausted, errNoRoom)
		}
	}
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
	a.choosing.Lock()
	rest := max(relieveInterval, time.Until(a.rested))
	a.choosing.Unlock()
	time.AfterFunc(rest, func() {
		a.mu.Lock()
		a.relieving = a.used > a.crowded()
		again := a.relieving
		woken := a.wakeable()
		a.mu.Unlock()
		for _, r := range woken {
			r.cluster.wake(r)
		}
		if again {
			a.relieve()
		}
	})
}

// wakeable returns the readers that wait for room, who do so no longer, if there is as much as is
// left for changes. a.mu is held.
func (a *account) wakeable() []*reader {
	if len(a.waiting) == 0 || a.used > a.most(false) {
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
	begins := bytes > 0
	if !begins {
		a.choosing.Lock()
	} else if !a.choosing.TryLock() {
		return
	}
	defer a.choosing.Unlock()
	now := time.Now()
	if begins && now.Before(a.rested) {
		return
	}
	a.caches()
	if excess := a.inUse() - most; excess > 0 {
		for _, r := range chooseEnded(a.holders(now), excess, a.large(), address, bytes) {
			r.end(errTooSlow)
		}
	}
	done := time.Now()
	a.rested = done.Add(max(choiceInterval, choiceRest*done.Sub(now)))
}

// holders returns what the readers hold.
func (a *account) holders(now time.Time) []holder {
	a.mu.Lock()
	readers := slices.Collect(maps.Keys(a.readers))
	a.mu.Unlock()
	holders := make([]holder, len(readers))
	for i, r := range readers {
		holders[i] = r.holds(now)
	}
	return holders
}

// large returns what an address may hold without being the first to lose readers.
func (a *account) large() int64 {
	if a.inUse() > a.most(false) {
		// Changes may have to wait for room: nobody has time.
		return 0
	}
	return a.limit / 8
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
