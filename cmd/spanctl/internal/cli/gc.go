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

// What a discovery server keeps is nearly all of its memory, so that the
// collector should run often where that is much, and need not where it is little:
// it gets headroom bytes of garbage before it runs, within bounds in percent of
// what is kept.
const (
	gcHeadroom = 20 << 20
	gcLeast    = 40
	gcMost     = 400
	gcInterval = time.Second
)

// Commands are over before the collector has freed much: it leaves them alone until
// they have gcPatience percent of the 4 MiB of garbage at which it usually begins,
// which is 96 MiB, and works as usual from then on.
const (
	gcPatience = 2400
	gcUsual    = 100
)

// gcPatient tells that the collector has still to be set to its usual pace.
var gcPatient atomic.Bool

// begin has the collector wait, unless the user has set GOGC.
func begin() {
	if os.Getenv("GOGC") != "" {
		return
	}
	gcPatient.Store(true)
	debug.SetGCPercent(gcPatience)
	// What nothing points to is cleaned up by the first collection.
	runtime.AddCleanup(&struct{ _ *int }{}, func(struct{}) { stay() }, struct{}{})
}

// stay has the collector work as usual, in a command that stays.
func stay() {
	if gcPatient.Swap(false) {
		debug.SetGCPercent(gcUsual)
	}
}

// tuneGC follows what is kept until ctx ends, unless the user has set GOGC.
func tuneGC(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	gcPatient.Store(false)
	debug.SetGCPercent(gcMost)
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for last := gcMost; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		metrics.Read(live)
		if percent := gcPercent(live[0].Value.Uint64()); percent != last {
			debug.SetGCPercent(percent)
			last = percent
		}
	}
}

// gcPercent is what GOGC should be with so many bytes kept.
func gcPercent(live uint64) int {
	return int(min(max(gcHeadroom*100/max(live, 1), gcLeast), gcMost))
}
