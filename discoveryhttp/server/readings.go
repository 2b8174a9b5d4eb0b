package server

import (
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// readingTime is how long a reader may take for a large snapshot when there are too many.
const readingTime = 5 * time.Second

// readings bound the memory of large snapshots that are being read. A snapshot of which a
// reader takes its time stays in memory, while the cluster has a newer one.
type readings struct {
	mu    sync.Mutex
	bytes int64
	limit int64
	of    map[any]*counted
}

// counted is something large that is being read.
type counted struct {
	bytes int64
	// readers are those who read it, since when.
	readers map[*reader]time.Time
}

func newReadings(limit int64) *readings {
	return &readings{limit: orNone(limit), of: map[any]*counted{}}
}

// beginList counts a reader of a list until r.gone is called.
func (rs *readings) beginList(s *store.Snapshot, r *reader) error {
	return rs.begin(s, int64(s.Size()), r)
}

// beginWatch counts a reader of what watches share until r.gone is called. Nil counts nothing.
func (rs *readings) beginWatch(s *shared, r *reader) error {
	if s == nil {
		return nil
	}
	return rs.begin(s, int64(s.size), r)
}

// begin counts a reader of something until r.gone is called. If there is too much, slow
// readers are ended; if that does not help, the error says so.
func (rs *readings) begin(what any, bytes int64, r *reader) error {
	now := time.Now()
	rs.mu.Lock()
	var slow []*reader
	if rs.of[what] == nil && rs.bytes+bytes > rs.limit {
		slow = rs.dropSlow(now)
	}
	full := rs.of[what] == nil && rs.bytes+bytes > rs.limit
	if !full {
		if rs.of[what] == nil {
			rs.of[what] = &counted{bytes, map[*reader]time.Time{}}
			rs.bytes += bytes
		}
		rs.of[what].readers[r] = now
	}
	rs.mu.Unlock()
	for _, r := range slow {
		r.end(errTooSlow)
	}
	if full {
		return connect.NewError(connect.CodeResourceExhausted, errors.New("the server is sending too many snapshots: try again later"))
	}
	r.gone = sync.OnceFunc(func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.drop(what, r)
	})
	return nil
}

// drop ends the count of a reader. rs.mu is held.
func (rs *readings) drop(what any, r *reader) {
	of := rs.of[what]
	if of == nil {
		return
	}
	delete(of.readers, r)
	if len(of.readers) == 0 {
		delete(rs.of, what)
		rs.bytes -= of.bytes
	}
}

// dropSlow ends the count of all slow readers, and returns them. rs.mu is held.
func (rs *readings) dropSlow(now time.Time) []*reader {
	var slow []*reader
	for what, of := range rs.of {
		for r, since := range of.readers {
			if now.Sub(since) > readingTime {
				slow = append(slow, r)
				rs.drop(what, r)
			}
		}
	}
	return slow
}
