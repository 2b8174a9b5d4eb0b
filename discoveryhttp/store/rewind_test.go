package store

import (
	"testing"
	"time"
)

func TestRewind(t *testing.T) {
	for name, c := range map[string]struct{ served, want time.Duration }{
		"a file that was just made":    {time.Duration(firstServed) * time.Millisecond, grace},
		"served for a day":             {24 * time.Hour, grace},
		"served for 45 minutes":        {45 * time.Minute, grace},
		"served for 15 minutes":        {15 * time.Minute, 5 * time.Minute},
		"opened and closed":            {0, 0},
		"the clock has been set back":  {-time.Hour, 0},
		"an older file without a time": {56 * 365 * 24 * time.Hour, grace},
	} {
		t.Run(name, func(t *testing.T) {
			const resumed = int64(1_000_000)
			if got := rewind(resumed+c.served.Milliseconds(), resumed); got != c.want.Milliseconds() {
				t.Errorf("it steps back by %v, want %v", time.Duration(got)*time.Millisecond, c.want)
			}
		})
	}
}

// firstServed is what a new file is taken to have served, in milliseconds.
var firstServed = -firstResumed(0)
