// Package when compares times at which something is to be done, of which zero is never.
package when

import "time"

// Earlier returns the earlier of two times; zero where both are never.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
