package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timerLength is longer than any process runs: the timer is there to be cancelled.
const timerLength = 100 * 365 * 24 * time.Hour

// watchClock calls stepped when the real-time clock is set, or the machine resumes from
// suspend. The kernel then cancels a timer of that clock (timerfd_create(2),
// TFD_TIMER_CANCEL_ON_SET). The argument is by how much the clock was set; time in suspend
// does not count.
func watchClock(ctx context.Context, stepped func(by time.Duration)) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch the clock: %w", err)
	}
	// Closing the file ends a read, as it is in the runtime's poller.
	timer := os.NewFile(uintptr(fd), "clock")
	stop := context.AfterFunc(ctx, func() { _ = timer.Close() })
	defer stop()
	defer func() { _ = timer.Close() }()
	before, err := clockOffset()
	if err != nil {
		return err
	}
	for {
		end := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(timerLength).UnixNano())}
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil); err != nil {
			return fmt.Errorf("watch the clock: %w", err)
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
			stepped(offset - before)
			before = offset
		case err != nil:
			return fmt.Errorf("watch the clock: %w", err)
		}
	}
}

// clockOffset returns the real-time clock minus the time since boot, suspend included
// (clock_gettime(2)).
func clockOffset() (time.Duration, error) {
	var wall, boot unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &wall), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		return 0, fmt.Errorf("read the clocks: %w", err)
	}
	return time.Duration(wall.Nano() - boot.Nano()), nil
}
