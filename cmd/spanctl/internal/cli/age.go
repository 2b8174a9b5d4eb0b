package cli

import (
	"fmt"
	"time"
)

// rttText returns a round-trip time, such as "0.4ms", "11ms" or "1.2s".
func rttText(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 9.95:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
}

// dateText returns a time, without the year where that is the one of now.
func dateText(t, now time.Time) string {
	if t.Year() != now.Year() {
		return t.Format("2006 Jan _2 15:04")
	}
	return t.Format("Jan _2 15:04")
}
