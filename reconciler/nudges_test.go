package reconciler

import (
	"net/netip"
	"testing"
)

func TestNudgesOfSeveralRelays(t *testing.T) {
	one, two := netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddrPort("203.0.113.2:1")
	l := &Loop{engine: &Engine{}, wake: make(chan struct{}, 1)}
	l.Nudged(one)
	l.Nudged(two)
	l.takePaths()
	if n := l.engine.nudged; !n[one] || !n[two] || len(l.wake) != 1 {
		t.Errorf("there are %v", n)
	}
	if l.nudged.take() != nil {
		t.Error("they are taken twice")
	}
}
