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
		{40 * time.Millisecond, 60 * time.Millisecond}, // a call that is refused costs nothing
		{60 * time.Millisecond, 0},
		{0, 100 * time.Millisecond},
		{10 * time.Second, 0}, {0, 0}, {0, 0}, // rest gives back the burst and no more
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
		t.Errorf("without a bound, wait %v", wait)
	}
}

// TestLimiterForgets has ever new callers, as from a forged range of addresses.
func TestLimiterForgets(t *testing.T) {
	l := newLimiter[int](Rate{PerSecond: 10, Burst: 3})
	now := time.Unix(1000, 0)
	most := 0
	for i := range 100_000 {
		l.take(i, now)
		now = now.Add(time.Millisecond)
		most = max(most, len(l.paid))
	}
	if most > 2*leastSweep {
		t.Errorf("up to %d callers were kept, of 100 that can matter", most)
	}
}

func TestLimitedAddress(t *testing.T) {
	for text, want := range map[string]string{"203.0.113.9": "203.0.113.9", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::"} {
		if got := limited(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", text, got, want)
		}
	}
}
