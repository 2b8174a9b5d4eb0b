package store

import "time"

const (
	// grace is how much longer lives get over a restart: the longest pause of clients after
	// failed attempts. Talos' pauses for half of its TTL.
	grace = 15 * time.Minute
	// graceShare is the part of the time served that lives may get longer by, over many
	// restarts: one third.
	graceShare = 3
)

// rewind returns by how much the store's time steps back when a Bolt is opened: by grace, or less
// if it was opened not long before. So time goes on however often a server is restarted: of what
// it has served, two thirds count at least. saved is the store's time when it was closed, and
// resumed that when it was opened before. All are in milliseconds.
func rewind(saved, resumed int64) int64 {
	return min(max(saved-resumed, 0)/graceShare, grace.Milliseconds())
}

// firstResumed returns resumed for a new file: its first restart gives all of grace.
func firstResumed(now int64) int64 { return now - graceShare*grace.Milliseconds() }

// clock converts time to the store's time. That stands still while a Bolt is away, so that
// nothing expires meanwhile.
type clock struct {
	// away is how long the store was away, in milliseconds.
	away int64
	// resume is the store's time at the next call of at, if resuming is set.
	resume   int64
	resuming bool
	// latest is the latest that at has returned.
	latest int64
	// ticked is the time of the last tick, by the clock of the machine.
	ticked time.Time
}

// at returns the store's time at a time, in milliseconds.
func (c *clock) at(now time.Time) int64 {
	// A change that comes before the next tick must not live by a clock that was set.
	c.tick(time.Now())
	if c.resuming {
		c.away, c.resuming = now.UnixMilli()-c.resume, false
	}
	at := now.UnixMilli() - c.away
	c.latest = max(c.latest, at)
	return at
}

// suspended is the time between two ticks from which on the process is taken to have been
// suspended, or its clock to have been set. A server ticks every few seconds.
const suspended = 2 * time.Minute

// tick notes that a server is there. The time for which it was not, because it was suspended,
// does not count; nor does that by which the clock was set.
func (c *clock) tick(machine time.Time) {
	// The monotonic clock stands still while the machine is suspended.
	machine = machine.Round(0)
	if gap := machine.Sub(c.ticked); !c.ticked.IsZero() && gap.Abs() >= suspended {
		c.away += gap.Milliseconds()
		c.latest = 0
	}
	c.ticked = machine
}
