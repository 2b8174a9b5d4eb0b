package server

import (
	"math"
	"testing"
)

func TestLimitsWithinMemory(t *testing.T) {
	l := DefaultLimits()
	for _, memory := range []int64{64 << 20, 256 << 20, 1 << 30, l.Memory(), 64 << 30} {
		fit := l.Within(memory)
		if got := fit.Memory(); got > memory {
			t.Errorf("within %d bytes: limits take %d", memory, got)
		}
		if fit.Memory() < min(memory, l.Memory())/2 {
			t.Errorf("within %d bytes: limits take %d only", memory, fit.Memory())
		}
		if fit.Connections.PerCaller == 0 || fit.Store.CallerClusters == 0 || fit.Copies == 0 {
			t.Errorf("within %d bytes: a limit is gone: %+v", memory, fit)
		}
		if fit.Connections.PerCaller > fit.Connections.Connections || fit.WatchesPerAddress > fit.Watches || fit.Store.CallerBytes > fit.Store.Bytes {
			t.Errorf("within %d bytes: an address may have more than all: %+v", memory, fit)
		}
	}
	if fit := l.Within(l.Memory()); fit.Memory() != l.Memory() {
		t.Errorf("limits that fit are changed: %d bytes are %d", l.Memory(), fit.Memory())
	}
}

func TestMissingLimitIsNoBoundOfMemory(t *testing.T) {
	l := DefaultLimits()
	l.Watches = 0
	if got := l.Memory(); got != math.MaxInt64 {
		t.Errorf("Memory is %d without a limit of watches", got)
	}
}
