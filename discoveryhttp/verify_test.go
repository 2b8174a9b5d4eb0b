package discoveryhttp

import (
	"testing"
	"time"
)

func TestVerifySpread(t *testing.T) {
	for machines, want := range map[int]time.Duration{
		1:         10 * time.Millisecond,
		50:        500 * time.Millisecond,
		300:       3 * time.Second,
		1000:      30518 * time.Millisecond,
		2000:      122070 * time.Millisecond,
		5000:      10 * time.Minute,
		1_000_000: 10 * time.Minute,
	} {
		if got := verifySpread(machines).Round(time.Millisecond); got != want {
			t.Errorf("%d machines list within %v, want %v", machines, got, want)
		}
	}
}
