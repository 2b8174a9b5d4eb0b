package retry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler/retry"
)

var errDown = errors.New("down")

// within reports whether a pause is within the jitter of its nominal length.
func within(pause, nominal time.Duration) bool {
	return pause >= nominal/2 && pause <= nominal*3/2
}

func TestPausesDoubleUpToTheLongest(t *testing.T) {
	b := retry.New(time.Second, 5*time.Second)
	for range 2 {
		for i, nominal := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
			if pause := b.Next(); !within(pause, nominal) {
				t.Errorf("pause %d is %v, want about %v", i, pause, nominal)
			}
		}
		b.Reset()
	}
}

func TestPausesDiffer(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 10 {
		seen[retry.New(time.Hour, time.Hour).Next()] = true
	}
	if len(seen) < 2 {
		t.Errorf("ten pauses are all %v", seen)
	}
}

func TestDoRepeatsUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		attempts := 0
		var announced time.Duration
		err := retry.Do(t.Context(), retry.New(time.Second, time.Minute), func(err error, retryIn time.Duration) {
			if !errors.Is(err, errDown) {
				t.Errorf("notified of %v", err)
			}
			announced += retryIn
		}, func(context.Context) error {
			if attempts++; attempts < 4 {
				return errDown
			}
			return nil
		})
		if err != nil || attempts != 4 {
			t.Errorf("%d attempts, %v", attempts, err)
		}
		if waited := time.Since(started); waited != announced || !within(waited, 7*time.Second) {
			t.Errorf("waited %v, announced %v, want about 7s", waited, announced)
		}
	})
}

func TestDoEndsAtAPermanentError(t *testing.T) {
	attempts := 0
	err := retry.Do(t.Context(), retry.New(time.Second, time.Minute), nil, func(context.Context) error {
		attempts++
		return fmt.Errorf("call: %w", retry.Permanent(errDown))
	})
	if !errors.Is(err, errDown) || attempts != 1 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		err := retry.Do(ctx, retry.New(time.Second, time.Hour), nil, func(context.Context) error { return errDown })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Minute {
			t.Errorf("ended after %v with %v", time.Since(started), err)
		}
	})
}

func TestDoSaysNothingWhenItsContextEndsTheAttempt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := retry.Do(ctx, retry.New(time.Second, time.Hour),
		func(err error, _ time.Duration) { t.Errorf("notified of %v", err) },
		func(ctx context.Context) error {
			cancel()
			return ctx.Err()
		})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALongAttemptStartsTheSequenceOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		var pauses []time.Duration
		_ = retry.Do(ctx, retry.New(time.Second, time.Minute), func(_ error, retryIn time.Duration) {
			pauses = append(pauses, retryIn)
		}, func(context.Context) error {
			switch attempts++; attempts {
			case 6:
				time.Sleep(2 * time.Minute)
			case 7:
				cancel()
			}
			return errDown
		})
		if len(pauses) != 6 || !within(pauses[4], 16*time.Second) || !within(pauses[5], time.Second) {
			t.Errorf("paused %v, want about 1s after the sixth attempt", pauses)
		}
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		close(closed)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for name, c := range map[string]struct {
			ctx  context.Context
			wake chan struct{}
			want error
			took time.Duration
		}{
			"the time passes":  {t.Context(), nil, nil, time.Second},
			"woken":            {t.Context(), closed, retry.ErrWoken, 0},
			"the context ends": {ended, nil, context.Canceled, 0},
		} {
			started := time.Now()
			if err := retry.Wait(c.ctx, time.Second, c.wake); !errors.Is(err, c.want) || time.Since(started) != c.took {
				t.Errorf("%s: %v after %v", name, err, time.Since(started))
			}
		}
	})
}

func TestPauseDoublesUpToTheLongest(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 7: 30 * time.Second, 1_000_000: 30 * time.Second,
	} {
		if got := retry.Pause(failures, time.Second, 30*time.Second); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}
