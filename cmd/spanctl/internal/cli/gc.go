package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// The memory of a discovery server, and of an agent in a large cluster, is nearly all live
// heap. The collector runs after gcHeadroom bytes of garbage: GOGC falls as the live heap grows,
// between gcLeast and the caller's maximum.
const (
	gcHeadroom = 20 << 20
	gcLeast    = 40
	gcMost     = 400
)

// Commands are over before the collector pays: it starts after gcDelayed percent of the
// 4 MiB of heap at which it usually starts, which is 96 MiB, and then works as usual
// (docs/decisions/garbage.md).
const (
	gcDelayed = 2400
	gcUsual   = 100
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
// GOGC. Most is its upper bound in percent. It does so after each collection: a server that is
// filled at full speed would otherwise have several times its live heap in garbage before it is
// noticed.
func tuneGC(ctx context.Context, most int) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	gcIsDelayed.Store(false)
	debug.SetGCPercent(most)
	collected := make(chan struct{}, 1)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for last := most; ; {
		awaitGC(collected)
		select {
		case <-ctx.Done():
			return nil
		case <-collected:
		}
		metrics.Read(live)
		if percent := gcPercent(live[0].Value.Uint64(), most); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}

// awaitGC signals the next collection.
func awaitGC(collected chan<- struct{}) {
	runtime.AddCleanup(&struct{ _ *int }{}, func(struct{}) { collected <- struct{}{} }, struct{}{})
}

// gcPercent returns the GOGC for a live heap in bytes, in percent and at most "most".
func gcPercent(live uint64, most int) int {
	return int(min(max(gcHeadroom*100/max(live, 1), gcLeast), uint64(most)))
}
