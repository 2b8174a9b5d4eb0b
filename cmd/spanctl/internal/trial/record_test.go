package trial

import (
	"testing"
	"time"
)

// TestTimeOfATrial has what clocks, suspends and starts of the machine do to a trial of a minute.
func TestTimeOfATrial(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begin := Moment{Boot: "a", Up: time.Hour, Wall: wall}
	record, err := Begin(State{}, time.Minute, begin)
	if err != nil {
		t.Fatal(err)
	}
	resumed, another := record.Resumed(Moment{Boot: "b", Up: time.Second, Wall: wall.Add(-time.Hour)})
	if !another {
		t.Fatal("the machine has not started again")
	}
	for _, c := range []struct {
		name   string
		record Record
		now    Moment
		left   time.Duration
	}{
		{"it begins", record, begin, time.Minute},
		{"time passes", record, Moment{"a", time.Hour + 20*time.Second, wall.Add(20 * time.Second)}, 40 * time.Second},
		{"the clock is set back", record, Moment{"a", time.Hour + 20*time.Second, wall.Add(-time.Hour)}, 40 * time.Second},
		{"the clock is set forth", record, Moment{"a", time.Hour + 20*time.Second, wall.Add(time.Hour)}, 40 * time.Second},
		{"its time is up", record, Moment{"a", time.Hour + time.Minute, wall}, 0},
		{"the machine starts again", record, Moment{"b", time.Second, wall.Add(50 * time.Second)}, 10 * time.Second},
		{"the machine starts again, with a clock of the past", record, Moment{"b", time.Second, wall.Add(-time.Hour)}, time.Minute},
		{"the machine starts again, long after", record, Moment{"b", time.Second, wall.Add(time.Hour)}, 0},
		{"it goes on after a start", resumed, Moment{"b", 21 * time.Second, wall.Add(time.Hour)}, 40 * time.Second},
		{"the machine starts again and again, with a clock of the past", resumed, Moment{"c", time.Second, wall.Add(-time.Hour)}, 0},
		{"the uptime goes back within a boot, in a container that is moved", record, Moment{"a", time.Second, wall}, time.Minute},
	} {
		if left := max(0, c.record.LeftAt(c.now)); left != c.left {
			t.Errorf("%s: %v are left, want %v", c.name, left, c.left)
		}
	}
	for _, timeout := range []time.Duration{0, -time.Second, AtLeast - 1, AtMost + 1} {
		if _, err := Begin(State{}, timeout, begin); err == nil {
			t.Errorf("a trial of %v began", timeout)
		}
	}
	for _, r := range []Record{{}, {Timeout: time.Minute, Left: time.Hour, Since: begin}, {Timeout: time.Minute, Since: Moment{}}, {Before: 2, Newest: 1, Timeout: time.Minute, Since: begin}} {
		if r.Check() == nil {
			t.Errorf("%+v counts as a record", r)
		}
	}
	if record.Check() != nil || resumed.Check() != nil {
		t.Error("records do not count as such")
	}
}
