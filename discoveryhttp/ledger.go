package discoveryhttp

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
)

const (
	// ledgerAge is how long an older copy of an affiliate is refused after the newest one
	// was last seen at a service.
	ledgerAge = 30 * 24 * time.Hour
	// doubtAge is the same where the older copy may be the machine's own. Either it has no
	// sequence, since the machine was downgraded. Or the newest one is ahead of this
	// machine's clock, since the clock of the other machine was wrong.
	doubtAge = TTL
	// clockTolerance is how far a sequence may be ahead of this machine's clock.
	clockTolerance = 10 * time.Minute
	// ledgerSize bounds the machines that are remembered. It is more than a cluster has.
	ledgerSize = 16 << 10
)

// ledger remembers the newest publication of each machine: a service, or whoever can write
// to it, may put an older copy back. It outlives the deletion of a machine and the process.
// It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	entries map[string]ledgerEntry
}

// ledgerEntry is the newest publication of one machine.
type ledgerEntry struct {
	Sequence payload.Sequence `json:"sequence"`
	// LastSeen is when a service had it last.
	LastSeen time.Time `json:"lastSeen"`
}

// newLedger returns a ledger with the entries of an earlier process.
func newLedger(entries map[string]ledgerEntry, now time.Time) *ledger {
	l := &ledger{entries: make(map[string]ledgerEntry, len(entries))}
	for id, e := range entries {
		if e.LastSeen.After(now) {
			e.LastSeen = now // the clock was set back
		}
		l.put(id, e)
	}
	return l
}

// olderError says that a copy of an affiliate is older than the newest one.
type olderError struct{ sequence, newest payload.Sequence }

func (e *olderError) Error() string {
	if e.sequence == 0 {
		return fmt.Sprintf("is a copy without a sequence number: the newest copy was published at %s; "+
			"after a downgrade of spanctl the machine is accepted again %v later", e.newest.Time().Format(time.RFC3339Nano), doubtAge)
	}
	return fmt.Sprintf("is an older copy, published at %s: the newest was published at %s",
		e.sequence.Time().Format(time.RFC3339Nano), e.newest.Time().Format(time.RFC3339Nano))
}

// check returns an olderError for a publication that is older than the newest one. It notes
// any other.
func (l *ledger) check(now time.Time, id string, s payload.Sequence) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest, known := l.entries[id]
	if known && s < newest.Sequence && now.Sub(newest.LastSeen) < newest.age(now, s) {
		return &olderError{s, newest.Sequence}
	}
	if s == 0 {
		delete(l.entries, id)
		return nil
	}
	l.put(id, ledgerEntry{s, now})
	return nil
}

// age returns how long the entry refuses the older sequence s.
func (e ledgerEntry) age(now time.Time, s payload.Sequence) time.Duration {
	if s == 0 || e.Sequence > payload.SequenceAt(now.Add(clockTolerance)) {
		return doubtAge
	}
	return ledgerAge
}

// confirm notes that a service had a publication until now.
func (l *ledger) confirm(now time.Time, id string, s payload.Sequence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, known := l.entries[id]; known && e.Sequence == s {
		l.entries[id] = ledgerEntry{s, now}
	}
}

// put sets an entry. If there are too many, it drops the one that was seen least recently.
func (l *ledger) put(id string, e ledgerEntry) {
	if _, known := l.entries[id]; !known && len(l.entries) >= ledgerSize {
		var oldest string
		for id, e := range l.entries {
			if oldest == "" || e.LastSeen.Before(l.entries[oldest].LastSeen) {
				oldest = id
			}
		}
		delete(l.entries, oldest)
	}
	l.entries[id] = e
}

// content returns the entries for the cache, without those that no longer refuse anything.
func (l *ledger) content(now time.Time) map[string]ledgerEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.entries, func(_ string, e ledgerEntry) bool { return now.Sub(e.LastSeen) >= ledgerAge })
	return maps.Clone(l.entries)
}
