package soak

import (
	"context"
	"fmt"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// Ledger writes affiliates to a server and knows which of them the server must have. It is safe for
// concurrent use, except that an affiliate has one writer.
type Ledger struct{ writers *writers }

// NewLedger returns a ledger of what is written with a client.
func NewLedger(client wire.Client) Ledger { return Ledger{newWriters(client)} }

// Write updates an affiliate of a cluster. Its data has the number of the write.
func (l Ledger) Write(ctx context.Context, cluster, id string) error {
	return l.writers.write(ctx, key{cluster, id}, false)
}

// Check returns an error if the server has lost a write to a cluster that it has acknowledged. It waits
// for a server that is starting.
func (l Ledger) Check(ctx context.Context, cluster string) error {
	return l.writers.check(ctx, cluster)
}

// Acknowledged returns the number of writes that the server has acknowledged.
func (l Ledger) Acknowledged() int64 { return l.writers.acknowledged.Load() }

// Forget drops a cluster, whose store was emptied.
func (l Ledger) Forget(cluster string) { l.writers.forget(cluster) }

// entry is what is known of an affiliate: what its writer asked for, and what the server
// acknowledged. Writes have numbers that grow.
type entry struct {
	// acknowledged is the number of the last write that the server acknowledged; 0 for none.
	acknowledged uint64
	// absent is set if that was a deletion, or if there was none.
	absent bool
	// tried is the number of the last write.
	tried uint64
	// deletion is set if a deletion was tried since the last acknowledged write.
	deletion bool
}

func newEntry() *entry { return &entry{absent: true} }

// try notes that a write is on its way, and returns its number.
func (e *entry) try(isDeletion bool) uint64 {
	e.tried++
	e.deletion = e.deletion || isDeletion
	return e.tried
}

// acknowledge notes that the server has acknowledged the last write.
func (e *entry) acknowledge(isDeletion bool) {
	e.acknowledged, e.absent, e.deletion = e.tried, isDeletion, false
}

// check returns an error if the server cannot be right: it has the affiliate with the write of
// a number, or it does not have the affiliate and the number is 0. A write that was not
// acknowledged may have been done.
func (e *entry) check(number uint64) error {
	switch {
	case number == 0 && (e.absent || e.deletion):
		return nil
	case number == 0:
		return fmt.Errorf("write %d was acknowledged, and the affiliate is missing", e.acknowledged)
	case number > e.tried:
		return fmt.Errorf("write %d was never made", number)
	case number < e.acknowledged:
		return fmt.Errorf("write %d was acknowledged, and the affiliate has write %d", e.acknowledged, number)
	case number == e.acknowledged && e.absent:
		return fmt.Errorf("deletion %d was acknowledged, and the affiliate exists", number)
	}
	return nil
}
