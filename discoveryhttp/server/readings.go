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
	of    map[*store.Snapshot]map[*reader]time.Time
}

func newReadings(limit int64) *readings {
	return &readings{limit: orNone(limit), of: map[*store.Snapshot]map[*reader]time.Time{}}
}

// begin counts a reader of a snapshot until r.gone is called. A nil snapshot counts nothing.
// If there are too many, slow readers are ended; if that does not help, the error says so.
func (rs *readings) begin(s *store.Snapshot, r *reader) error {
	if s == nil {
		return nil
	}
	now := time.Now()
	rs.mu.Lock()
	var slow []*reader
	if rs.of[s] == nil && rs.bytes+int64(s.Size()) > rs.limit {
		slow = rs.dropSlow(now)
	}
	full := rs.of[s] == nil && rs.bytes+int64(s.Size()) > rs.limit
	if !full {
		if rs.of[s] == nil {
			rs.of[s] = map[*reader]time.Time{}
			rs.bytes += int64(s.Size())
		}
		rs.of[s][r] = now
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
		rs.drop(s, r)
	})
	return nil
}

// drop ends the count of a reader. rs.mu is held.
func (rs *readings) drop(s *store.Snapshot, r *reader) {
	if _, ok := rs.of[s][r]; !ok {
		return
	}
	delete(rs.of[s], r)
	if len(rs.of[s]) == 0 {
		delete(rs.of, s)
		rs.bytes -= int64(s.Size())
	}
}

// dropSlow ends the count of all slow readers, and returns them. rs.mu is held.
func (rs *readings) dropSlow(now time.Time) []*reader {
	var slow []*reader
	for s, readers := range rs.of {
		for r, since := range readers {
			if now.Sub(since) > readingTime {
				slow = append(slow, r)
				rs.drop(s, r)
			}
		}
	}
	return slow
}
