package retry

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// multiplier is how much longer a pause is than the one before.
	multiplier = 2
	// jitter is the largest difference between a pause and its nominal length, as a
	// fraction of that length.
	jitter = 0.5
)

// Backoff is a sequence of pauses. Make one with New.
type Backoff struct {
	exponential *backoff.ExponentialBackOff
}

// New returns the sequence whose pauses double from first to longest. Jitter makes each
// pause up to a half shorter or longer, so no pause exceeds one and a half times longest.
func New(first, longest time.Duration) *Backoff {
	return &Backoff{exponential: &backoff.ExponentialBackOff{
		InitialInterval:     first,
		MaxInterval:         longest,
		Multiplier:          multiplier,
		RandomizationFactor: jitter,
	}}
}

// Next returns the pause before the next attempt, and doubles the one after it.
func (b *Backoff) Next() time.Duration { return b.exponential.NextBackOff() }

// Reset starts the sequence over. Call it after a success.
func (b *Backoff) Reset() { b.exponential.Reset() }

// Pause returns the pause after a number of failures in a row, at least one, without jitter:
// first, doubled for each further failure, and at most longest. It is for local operations,
// which need no jitter.
func Pause(failures int, first, longest time.Duration) time.Duration {
	pause := first
	for range failures - 1 {
		if pause *= multiplier; pause >= longest {
			return longest
		}
	}
	return min(pause, longest)
}
