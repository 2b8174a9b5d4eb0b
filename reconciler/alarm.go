package reconciler

import "time"

// alarm is a timer that can be set to ring earlier. It is for one goroutine.
type alarm struct {
	*time.Timer
	// at is when it rings; zero while it is not set.
	at time.Time
}

// newAlarm returns an alarm that is not set.
func newAlarm() *alarm {
	timer := time.NewTimer(0)
	timer.Stop()
	return &alarm{Timer: timer}
}

// by makes the alarm ring at a time, unless it rings earlier anyhow.
func (a *alarm) by(at time.Time) {
	if !a.at.IsZero() && !at.Before(a.at) {
		return
	}
	a.set(at)
}

// set makes the alarm ring at a time, whatever it was set to.
func (a *alarm) set(at time.Time) {
	a.at = at
	a.Reset(time.Until(at))
}

// within reports whether the alarm rings in less than d.
func (a *alarm) within(d time.Duration) bool { return !a.at.IsZero() && time.Until(a.at) <= d }

// rang must be called after a receive from C.
func (a *alarm) rang() { a.at = time.Time{} }

func (a *alarm) stop() { a.Stop() }
