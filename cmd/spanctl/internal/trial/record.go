package trial

import (
	"errors"
	"fmt"
	"time"
)

// The bounds of a trial.
const (
	AtLeast = time.Second
	AtMost  = 24 * time.Hour
)

// Moment is a point in time.
type Moment struct {
	// Boot identifies the time since the machine started.
	Boot string `json:"boot"`
	// Up is how long the machine has been up, suspended or not. No setting of a clock changes it.
	Up time.Duration `json:"up"`
	// Wall is the wall clock, which may be wrong.
	Wall time.Time `json:"wall"`
}

// Record is a trial as the disk has it.
type Record struct {
	// Before is the newest revision that was confirmed when the trial began; 0 for none.
	Before int `json:"before"`
	// Newest is the newest revision at all then. What is on trial is newer.
	Newest int `json:"newest"`
	// Down is set if the mesh was taken down before: it is down again after the trial.
	Down bool `json:"down,omitempty"`
	// Timeout is the length of the trial.
	Timeout time.Duration `json:"timeout"`
	// Left is how long it went on after Since.
	Left  time.Duration `json:"left"`
	Since Moment        `json:"since"`
	// Restarted is set once the machine has started again during the trial.
	Restarted bool `json:"restarted,omitempty"`
}

// Begin returns the record of a trial that begins now.
func Begin(s State, timeout time.Duration, now Moment) (Record, error) {
	if timeout < AtLeast || timeout > AtMost {
		return Record{}, fmt.Errorf("a trial of %v: want %v to %v", timeout, AtLeast, AtMost)
	}
	return Record{Before: s.Confirmed, Newest: s.Newest, Down: s.Down, Timeout: timeout, Left: timeout, Since: now}, nil
}

// Check returns an error for a record that Begin and Resumed cannot have made.
func (r Record) Check() error {
	if r.Timeout < AtLeast || r.Timeout > AtMost || r.Left > r.Timeout || r.Before < 0 || r.Newest < r.Before || r.Since.Boot == "" {
		return errors.New("is not the record of a trial")
	}
	return nil
}

// sameBoot reports whether the machine has been up since the record was written.
func (r Record) sameBoot(now Moment) bool { return now.Boot == r.Since.Boot && now.Up >= r.Since.Up }

// LeftAt returns how long the trial goes on. While the machine is up, no clock that is set
// changes that. After a start of the machine the wall clock can only shorten it; after another one
// it is over.
func (r Record) LeftAt(now Moment) time.Duration {
	switch {
	case r.sameBoot(now):
		return r.Left - (now.Up - r.Since.Up)
	case r.Restarted:
		return 0
	default:
		return r.Left - max(0, now.Wall.Sub(r.Since.Wall))
	}
}

// Resumed returns the record for the time since the machine started, and whether that is another
// one.
func (r Record) Resumed(now Moment) (Record, bool) {
	if r.sameBoot(now) {
		return r, false
	}
	r.Left, r.Since, r.Restarted = r.LeftAt(now), now, true
	return r, true
}

// Same reports whether both are records of one trial within one uptime of the machine.
func (r Record) Same(other Record) bool {
	return r.Before == other.Before && r.Timeout == other.Timeout && r.Since.Boot == other.Since.Boot && r.Since.Up == other.Since.Up
}
