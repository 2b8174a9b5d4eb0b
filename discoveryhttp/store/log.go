package store

import (
	"sync"
	"sync/atomic"
)

const (
	// maxLag is the number of changes that a watcher may be behind. It is more than the machines
	// of a large cluster, since all of them may join at once while the server is busy, and a
	// snapshot costs more than the changes.
	maxLag = 8192
	// maxLagBytes is about what they may take, in bytes.
	maxLagBytes = 8 << 20
	// BlockSize is the size of the blocks of changes in a Log, in bytes of their encodings.
	// Watchers that take blocks take the same, wherever they began.
	BlockSize = 16 << 10
	// eventOverhead is about what an event takes in a log besides its encoding and ID, in bytes.
	eventOverhead = 128
)

// Log is the latest changes of a cluster: those that not all of its watchers have taken. A
// store pushes each change to the log once, and a watcher is a place in it. A watcher that is
// too far behind must resynchronize. A Log is safe for concurrent use.
type Log struct {
	backlog *Backlog
	// bytes is what the log takes.
	bytes atomic.Int64

	mu       sync.Mutex
	watchers map[*Watcher]struct{}
	// waiting are watchers that have taken all, and are told of the next change. spare is a
	// slice for them.
	waiting, spare []*Watcher
	// first is the number of the first of events, which are never changed in place: watchers
	// have parts of the slice.
	first  uint64
	events []*Event
	// slots are about events, each about one, and one about the end.
	slots []slot
	// dropped is what events before the first have that share its array: their number and bytes.
	dropped      int
	droppedBytes int64
}

// slot is about an event of a log.
type slot struct {
	// watchers is the number of watchers that take the event next.
	watchers int
	// block is that of the event, and filled the size of the block so far.
	block  uint64
	filled int
}

// NewLog returns the log of a cluster without watchers. What it keeps is counted and bounded by
// a backlog, which may be nil.
func NewLog(b *Backlog) *Log {
	return &Log{backlog: b, watchers: map[*Watcher]struct{}{}, slots: make([]slot, 1)}
}

// Watch returns a watcher of all later changes. Close calls stop.
func (l *Log) Watch(stop func()) *Watcher {
	w := &Watcher{log: l, stop: stop, place: -1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watchers) == 0 {
		l.backlog.open(l)
	}
	l.watchers[w] = struct{}{}
	w.next = l.end()
	l.slots[len(l.events)].watchers++
	l.await(w)
	return w
}

// Watchers returns the number of watchers that are not closed.
func (l *Log) Watchers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.watchers)
}

// Push adds a change for all watchers. It never blocks.
func (l *Log) Push(e *Event) {
	l.mu.Lock()
	if len(l.watchers) == 0 {
		l.mu.Unlock()
		return
	}
	end := &l.slots[len(l.events)]
	if size := e.Size(); end.filled > 0 && end.filled+size > BlockSize {
		end.block, end.filled = end.block+1, size
	} else {
		end.filled += size
	}
	next := slot{block: end.block, filled: end.filled}
	l.events = append(l.events, e)
	l.slots = append(l.slots, next)
	l.count(e.cost())
	var cut []*Watcher
	if len(l.events) > maxLag || l.bytes.Load()-l.droppedBytes > maxLagBytes {
		// Some more than must: the next changes need not look at all watchers again.
		cut = l.cut(maxLag*3/4, maxLagBytes*3/4)
	}
	told := l.waiting
	l.waiting, l.spare = l.spare, nil
	for _, w := range told {
		w.place = -1
	}
	l.mu.Unlock()
	for _, w := range told {
		w.tell()
	}
	for _, w := range cut {
		w.tell()
	}
	clear(told)
	l.mu.Lock()
	l.spare = told[:0]
	l.mu.Unlock()
	l.backlog.check()
}

// Resync ends all watches with ErrResync. A store calls it when it may have missed changes.
func (l *Log) Resync() { l.End(func(*Watcher) error { return ErrResync }) }

// End ends the watches of those watchers for which why returns an error.
func (l *Log) End(why func(*Watcher) error) {
	l.mu.Lock()
	var ended []*Watcher
	for w := range l.watchers {
		if err := why(w); err != nil && l.fail(w, err) {
			ended = append(ended, w)
		}
	}
	l.trim()
	l.mu.Unlock()
	for _, w := range ended {
		w.tell()
	}
}

// end returns the number of the next event. l.mu is held, also in what follows.
func (l *Log) end() uint64 { return l.first + uint64(len(l.events)) }

// count adds to what the log takes.
func (l *Log) count(bytes int64) {
	l.bytes.Add(bytes)
	l.backlog.add(bytes)
}

// await makes a watcher that has taken all hear of the next event.
func (l *Log) await(w *Watcher) {
	if w.place < 0 {
		w.place = len(l.waiting)
		l.waiting = append(l.waiting, w)
	}
}

// forget makes a watcher hear of nothing.
func (l *Log) forget(w *Watcher) {
	if w.place < 0 {
		return
	}
	last := len(l.waiting) - 1
	l.waiting[w.place] = l.waiting[last]
	l.waiting[w.place].place = w.place
	l.waiting[last] = nil
	l.waiting = l.waiting[:last]
	w.place = -1
}

// fail ends a watch, unless it has ended.
func (l *Log) fail(w *Watcher, err error) bool {
	if w.err != nil {
		return false
	}
	w.err = err
	l.slots[w.next-l.first].watchers--
	return true
}

// shorten ends the watches that make a log long.
func (l *Log) shorten() {
	l.mu.Lock()
	ended := l.cut(len(l.events)/4, (l.bytes.Load()-l.droppedBytes)/4)
	l.mu.Unlock()
	for _, w := range ended {
		w.tell()
	}
}

// cut ends the watches that are further behind than a number of events, or of bytes that they
// take, and returns them.
func (l *Log) cut(events int, bytes int64) (ended []*Watcher) {
	kept := len(l.events)
	for kept > 0 && len(l.events)-kept < events {
		if bytes -= l.events[kept-1].cost(); bytes < 0 {
			break
		}
		kept--
	}
	least := l.first + uint64(kept)
	for w := range l.watchers {
		if w.err == nil && w.next < least {
			l.fail(w, ErrResync)
			ended = append(ended, w)
		}
	}
	l.trim()
	return ended
}

// trim drops events that all watchers have taken.
func (l *Log) trim() {
	n := 0
	for n < len(l.events) && l.slots[n].watchers == 0 {
		l.droppedBytes += l.events[n].cost()
		n++
	}
	if n == 0 {
		return
	}
	l.first += uint64(n)
	l.events, l.slots, l.dropped = l.events[n:], l.slots[n:], l.dropped+n
	// Their array is replaced when more than half of it is of no use.
	if l.dropped > len(l.events) {
		l.events = append([]*Event(nil), l.events...)
		l.slots = append(make([]slot, 0, len(l.slots)), l.slots...)
		l.count(-l.droppedBytes)
		l.dropped, l.droppedBytes = 0, 0
	}
}

// cost returns about what the event takes, in bytes.
func (e *Event) cost() int64 {
	return int64(len(e.Affiliate.wire)+len(e.Affiliate.ID)) + eventOverhead
}
