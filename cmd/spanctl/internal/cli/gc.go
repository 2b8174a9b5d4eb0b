package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
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

// begin has the collector leave a command alone that is over before its garbage
// matters, unless the user has set GOGC; stay has it work again in one that stays.
func begin() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcMost)
	}
}

// gcUsual is Go's default.
const gcUsual = 100

func stay() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcUsual)
	}
}

// tuneGC follows what is kept until ctx ends, unless the user has set GOGC.
func tuneGC(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
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
