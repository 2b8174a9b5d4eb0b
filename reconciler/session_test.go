package reconciler_test

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
)

// TestCachePause checks that a cache that takes long to write is written seldom.
func TestCachePause(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      time.Second,
		5 * time.Millisecond:   time.Second,
		60 * time.Millisecond:  6 * time.Second,
		300 * time.Millisecond: 30 * time.Second,
		time.Hour:              30 * time.Second,
	} {
		if got := reconciler.CachePause(took); got != want {
			t.Errorf("after a write of %v: %v, want %v", took, got, want)
		}
	}
}
