package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// farAway is when the timer would go off if nothing happened.
const farAway = 100 * 365 * 24 * time.Hour

// watchClock calls woken when the clock jumps, which it does when the machine
// comes out of suspend: a timer of the real-time clock is then cancelled
// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET). By how much the clock was set is
// what it moved beyond the time that passed, suspended or not.
func watchClock(ctx context.Context, woken func(set time.Duration)) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("follow the clock: %w", err)
	}
	// A file in the runtime's poller: closing it ends a read.
	timer := os.NewFile(uintptr(fd), "clock")
	stop := context.AfterFunc(ctx, func() { _ = timer.Close() })
	defer stop()
	defer func() { _ = timer.Close() }()
	before, err := clockOffset()
	if err != nil {
		return err
	}
	for {
		end := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(farAway).UnixNano())}
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil); err != nil {
			return fmt.Errorf("follow the clock: %w", err)
		}
		_, err := timer.Read(make([]byte, 8))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ECANCELED):
			offset, err := clockOffset()
			if err != nil {
				return err
			}
			woken(offset - before)
			before = offset
		case err != nil:
			return fmt.Errorf("follow the clock: %w", err)
		}
	}
}

// clockOffset is by how much the real-time clock is ahead of the time since the
// machine started (clock_gettime(2)).
func clockOffset() (time.Duration, error) {
	var wall, boot unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &wall), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		return 0, fmt.Errorf("read the clocks: %w", err)
	}
	return time.Duration(wall.Nano() - boot.Nano()), nil
}
