// Package human writes numbers and durations for people.
package human

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Bytes returns a number of bytes, such as "1.2GiB".
func Bytes(n int64) string {
	return strings.ReplaceAll(humanize.IBytes(uint64(max(n, 0))), " ", "") //nolint:gosec // not negative
}

const day = 24 * time.Hour

// Age returns how long ago a time was, as Duration does. It is empty for a zero
// time.
func Age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return Duration(now.Sub(then))
}

// Duration returns a duration in at most two units: "41s", "1m 2s", "3d 4h". One that
// is negative is "0s".
func Duration(d time.Duration) string {
	age := max(d, 0)
	switch {
	case age < time.Minute:
		return fmt.Sprintf("%ds", age/time.Second)
	case age < time.Hour:
		return twoUnits(age, time.Minute, "m", time.Second, "s")
	case age < day:
		return twoUnits(age, time.Hour, "h", time.Minute, "m")
	default:
		return twoUnits(age, day, "d", time.Hour, "h")
	}
}

func twoUnits(age, large time.Duration, largeName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d%s", age/large, largeName)
	if rest := age % large / small; rest > 0 {
		text += fmt.Sprintf(" %d%s", rest, smallName)
	}
	return text
}

// Count returns a number of things, such as "1 peer" or "2 peers".
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
