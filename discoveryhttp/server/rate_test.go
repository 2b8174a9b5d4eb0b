package server

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	const ms = time.Millisecond
	l := newLimiter[string](Rate{PerSecond: 10, Burst: 3})
	now := time.Unix(1000, 0)
	for i, c := range []struct {
		after, patience, wait time.Duration
		ok                    bool
	}{
		{0, 0, 0, true}, {0, 0, 0, true}, {0, 0, 0, true},
		{0, 0, 100 * ms, false},
		{40 * ms, 59 * ms, 60 * ms, false}, // a refused call is not counted
		{0, 60 * ms, 60 * ms, true},        // the turns of those that wait follow each other
		{0, 160 * ms, 160 * ms, true},
		{0, 160 * ms, 260 * ms, false},
		{100 * ms, 160 * ms, 160 * ms, true},
		{10 * time.Second, 0, 0, true}, {0, 0, 0, true}, {0, 0, 0, true}, // a pause restores the burst and no more
		{0, 0, 100 * ms, false},
		{0, 100 * ms, 100 * ms, true},
	} {
		now = now.Add(c.after)
		if wait, ok := l.reserve("a", now, c.patience); wait != c.wait || ok != c.ok {
			t.Errorf("%d: wait %v, %v; want %v, %v", i, wait, ok, c.wait, c.ok)
		}
	}
	if wait, ok := l.reserve("b", now, 0); wait != 0 || !ok {
		t.Errorf("another caller waits %v", wait)
	}
	if wait, ok := newLimiter[string](Rate{}).reserve("a", now, 0); wait != 0 || !ok {
		t.Errorf("without a limit, wait %v", wait)
	}
	l.cancel("a")
	if wait, ok := l.reserve("a", now, time.Second); wait != 100*ms || !ok {
		t.Errorf("after a canceled call, wait %v", wait)
	}
}

// TestLimiterMemoryIsBounded calls from new addresses only, as an attacker with a
// large range can.
func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter[int](Rate{PerSecond: 10, Burst: 3})
	now := time.Unix(1000, 0)
	most := 0
	for i := range 100_000 {
		l.reserve(i, now, time.Second)
		now = now.Add(time.Millisecond)
		most = max(most, len(l.arrivals))
	}
	if most > 2*minSweep {
		t.Errorf("up to %d callers are kept; 100 have used any of their burst", most)
	}
}

func TestRateKey(t *testing.T) {
	for text, want := range map[string]string{"203.0.113.9": "203.0.113.9", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::"} {
		if got := rateKey(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", text, got, want)
		}
	}
}
