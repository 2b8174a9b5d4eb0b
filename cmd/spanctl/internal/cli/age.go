package cli

import (
	"fmt"
	"time"
)

// units are those of ageText, the longest first.
var units = []struct {
	length time.Duration
	name   string
}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}

// ageText returns how long something has lasted, in the two largest units that it takes, such as
// "3d 4h", "1m 2s" or "12s".
func ageText(d time.Duration) string {
	d = max(d, 0)
	for i, u := range units {
		if d < u.length && u.length > time.Second {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.length, u.name)
		if i+1 == len(units) {
			return text
		}
		if rest := d % u.length / units[i+1].length; rest > 0 {
			text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
		}
		return text
	}
	return "" // not reached: the last unit takes all
}

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
