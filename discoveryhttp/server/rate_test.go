package server

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := newLimiter[string](Rate{PerSecond: 10, Burst: 3})
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		after time.Duration
		wait  time.Duration
	}{
		{0, 0}, {0, 0}, {0, 0},
		{0, 100 * time.Millisecond},
		{40 * time.Millisecond, 60 * time.Millisecond}, // a refused call is not counted
		{60 * time.Millisecond, 0},
		{0, 100 * time.Millisecond},
		{10 * time.Second, 0}, {0, 0}, {0, 0}, // a pause restores the burst and no more
		{0, 100 * time.Millisecond},
	} {
		now = now.Add(c.after)
		if wait := l.take("a", now); wait != c.wait {
			t.Errorf("at %v: wait %v, want %v", now.Sub(time.Unix(1000, 0)), wait, c.wait)
		}
	}
	if wait := l.take("b", now); wait != 0 {
		t.Errorf("another caller waits %v", wait)
	}
	if wait := newLimiter[string](Rate{}).take("a", now); wait != 0 {
		t.Errorf("without a limit, wait %v", wait)
	}
}

// TestLimiterMemoryIsBounded calls from new addresses only, as an attacker with a
// large range can.
func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter[int](Rate{PerSecond: 10, Burst: 3})
	now := time.Unix(1000, 0)
	most := 0
	for i := range 100_000 {
		l.take(i, now)
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
