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

func TestMissingLimitLeavesTheOthers(t *testing.T) {
	for name, remove := range map[string]func(*Limits){
		"watches":        func(l *Limits) { l.Watches = 0 },
		"waiting calls":  func(l *Limits) { l.Waiting = 0 },
		"stored bytes":   func(l *Limits) { l.Store.Bytes = 0 },
		"every of these": func(l *Limits) { l.Watches, l.Waiting, l.Store.Bytes = 0, 0, 0 },
	} {
		l := DefaultLimits()
		remove(&l)
		if fit := l.Within(64 << 30); fit.Connections.Connections != l.Connections.Connections || fit.Store != l.Store {
			t.Errorf("without a limit of %s, limits that fit are lowered: %+v", name, fit)
		}
		fit := l.Within(256 << 20)
		if fit.Watches > 0 != (l.Watches > 0) || fit.Waiting > 0 != (l.Waiting > 0) || fit.Store.Bytes > 0 != (l.Store.Bytes > 0) {
			t.Errorf("without a limit of %s: which limits there are has changed: %+v", name, fit)
		}
		if got := fit.boundedMemory(); got > 256<<20 || got < 128<<20 {
			t.Errorf("without a limit of %s, the others take %d bytes within 256 MiB", name, got)
		}
	}
}
