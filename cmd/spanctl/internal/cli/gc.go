package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// gcBounds are how often the collector runs: after headroom bytes of garbage, within bounds in
// percent of the live heap. The memory of a discovery server, and of an agent in a large cluster,
// is nearly all live heap: GOGC falls as it grows.
type gcBounds struct {
	headroom    uint64
	least, most uint64
}

// The bounds. An agent of a large cluster makes megabytes of garbage in a pass at most, and is one of many programs on
// its machine.
var (
	gcOfServer = gcBounds{20 << 20, 40, 400}
	gcOfAgent  = gcBounds{8 << 20, 15, 50}
)

// Commands are over before the collector pays: it starts after gcDelayed percent of the
// 4 MiB of heap at which it usually starts, which is 96 MiB, and then works as usual
// (docs/decisions/garbage.md).
const (
	gcDelayed = 2400
	gcUsual   = 100
)

// Free heap of more than gcKept bytes goes back to the system when no collection has been due
// for gcQuiet.
const (
	gcQuiet = 10 * time.Second
	gcKept  = 4 << 20
)

// gcIsDelayed is set until the collector works as usual.
var gcIsDelayed atomic.Bool

// delayGC delays the first collection, unless the user has set GOGC.
func delayGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	gcIsDelayed.Store(true)
	debug.SetGCPercent(gcDelayed)
	// The first collection runs this cleanup.
	runtime.AddCleanup(&struct{ _ *int }{}, func(struct{}) { resetGC() }, struct{}{})
}

// resetGC ends the delay. Commands that stay call it.
func resetGC() {
	if gcIsDelayed.Swap(false) {
		debug.SetGCPercent(gcUsual)
	}
}

// tuneGC adjusts the collector to the live heap until ctx ends, unless the user has set
// GOGC. It does so after each collection: a server that is filled at full speed would
// otherwise have several times its live heap in garbage before it is noticed. What a burst
// of work has used goes back to the system once no collection was due for gcQuiet.
func tuneGC(ctx context.Context, bounds gcBounds) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	gcIsDelayed.Store(false)
	debug.SetGCPercent(int(bounds.most))
	collected := make(chan struct{}, 1)
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	quiet := time.NewTimer(gcQuiet)
	defer quiet.Stop()
	awaitGC(collected)
	for last := int(bounds.most); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			if metrics.Read(heap); heap[1].Value.Uint64() > gcKept {
				debug.FreeOSMemory()
			}
			continue
		case <-collected:
		}
		awaitGC(collected)
		quiet.Reset(gcQuiet)
		metrics.Read(heap)
		if percent := bounds.percent(heap[0].Value.Uint64()); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}

// awaitGC signals the next collection.
func awaitGC(collected chan<- struct{}) {
	runtime.AddCleanup(&struct{ _ *int }{}, func(struct{}) { collected <- struct{}{} }, struct{}{})
}

// percent returns the GOGC for a live heap in bytes.
func (b gcBounds) percent(live uint64) int {
	return int(min(max(b.headroom*100/max(live, 1), b.least), b.most))
}
