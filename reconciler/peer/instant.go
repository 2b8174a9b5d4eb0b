package peer

import (
	"math"
	"time"
)

// Instant is a time by the wall clock, in nanoseconds since 1970. The zero value is no time. It takes a third of the
// memory of a time.Time, and there are a dozen for each peer.
type Instant int64

// InstantOf returns a time between the years 1678 and 2262, or the zero Instant for the zero time.
func InstantOf(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixNano())
}

// IsZero reports whether it is no time.
func (i Instant) IsZero() bool { return i == 0 }

// age returns how long before a time it was; as long as can be for no time.
func (i Instant) age(now time.Time) time.Duration {
	if i == 0 {
		return math.MaxInt64
	}
	return time.Duration(InstantOf(now) - i)
}

// Time is the inverse of instantOf.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i)).UTC()
}

// shift moves it, unless it is no time.
func (i *Instant) shift(by time.Duration) {
	if *i != 0 {
		*i += Instant(by)
	}
}
