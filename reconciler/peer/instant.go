package peer

import (
	"math"
	"time"
)

// instant is a time by the wall clock in a third of the memory: in nanoseconds since 1970. The zero value is no time.
// There are a dozen for each peer.
type instant int64

// instantOf returns a time between the years 1678 and 2262, or the zero instant for the zero time.
func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixNano())
}

// IsZero reports whether it is no time.
func (i instant) IsZero() bool { return i == 0 }

// age returns how long before a time it was; as long as can be for no time.
func (i instant) age(now time.Time) time.Duration {
	if i == 0 {
		return math.MaxInt64
	}
	return time.Duration(instantOf(now) - i)
}

// time is the inverse of instantOf.
func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i)).UTC()
}

// shift moves it, unless it is no time.
func (i *instant) shift(by time.Duration) {
	if *i != 0 {
		*i += instant(by)
	}
}
