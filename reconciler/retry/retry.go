package retry

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Notify is called with the error of an attempt and the pause before the next one.
type Notify func(err error, retryIn time.Duration)

// Do calls attempt until it returns nil or a Permanent error, or ctx ends. It
// returns nil, the error inside Permanent, or the cause of ctx's end.
//
// Do waits as long as b says between two attempts. It starts the sequence over
// before the first attempt, and after an attempt that took longer than the
// longest pause: a watch that fails after an hour is no repeated failure. Notify,
// if not nil, is called before each pause, for a log.
func Do(ctx context.Context, b *Backoff, notify Notify, attempt func(context.Context) error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		started := time.Now()
		err := attempt(ctx)
		if time.Since(started) > b.exponential.MaxInterval {
			b.Reset()
		}
		return struct{}{}, err
	}, backoff.WithBackOff(b.exponential), backoff.WithNotify(backoff.Notify(notify)), backoff.WithMaxElapsedTime(0))
	return err
}

// Permanent returns an error that ends Do. It wraps err, which must not be nil.
func Permanent(err error) error { return backoff.Permanent(err) }

// ErrWoken is returned by a Wait that its wake channel ended.
var ErrWoken = errors.New("woken")

// Wait waits for d and returns nil. It returns earlier if ctx ends, with its
// error, or if wake receives or is closed, with ErrWoken. A nil wake never does.
func Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
		return ErrWoken
	case <-timer.C:
		return nil
	}
}
