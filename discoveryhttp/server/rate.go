package server

import (
	"errors"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
)

// limiter bounds how often each of many callers may call, by the generic cell
// rate algorithm (ITU-T I.371): of a caller it knows one time, until which its
// calls are paid for. A caller whose time is past is as one never seen, so that it
// need not be kept; one who used its burst is kept for burst/rate seconds.
type limiter[K comparable] struct {
	interval, credit time.Duration

	mu   sync.Mutex
	paid map[K]time.Time
	// sweepAt is how large paid may grow before what is past is dropped.
	sweepAt int
}

// leastSweep is a size below which it is not worth while to sweep.
const leastSweep = 1024

func newLimiter[K comparable](r Rate) *limiter[K] {
	l := &limiter[K]{paid: map[K]time.Time{}, sweepAt: leastSweep}
	if r.PerSecond > 0 {
		l.interval = time.Duration(float64(time.Second) / r.PerSecond)
		l.credit = time.Duration(max(r.Burst, 1)) * l.interval
	}
	return l
}

// take counts a call, or tells how long the caller must wait for its next.
func (l *limiter[K]) take(caller K, now time.Time) (wait time.Duration) {
	if l.interval == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	paid := l.paid[caller]
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(l.interval)
	if wait = paid.Sub(now) - l.credit; wait > 0 {
		return wait
	}
	l.paid[caller] = paid
	if len(l.paid) >= l.sweepAt {
		l.sweep(now)
	}
	return 0
}

// sweep drops the callers whose time is past.
func (l *limiter[K]) sweep(now time.Time) {
	for caller, paid := range l.paid {
		if !paid.After(now) {
			delete(l.paid, caller)
		}
	}
	l.sweepAt = max(2*len(l.paid), leastSweep)
}

// subnetBits is what one customer of an IPv6 provider has at least (RFC 6177).
const subnetBits = 64

// limited is the part of an address by which calls are counted.
func limited(address netip.Addr) netip.Addr {
	if address.Is6() {
		if prefix, err := address.Prefix(subnetBits); err == nil {
			return prefix.Addr()
		}
	}
	return address
}

// tooOften is the answer to a caller that must wait.
func tooOften(who string, wait time.Duration) error {
	err := connect.NewError(connect.CodeResourceExhausted, errors.New("too many calls from "+who+": try again later"))
	err.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return err
}
