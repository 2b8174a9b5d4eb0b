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

// limiter limits the call rate of each of many callers by the generic cell rate
// algorithm (ITU-T I.371). It keeps one time for each caller, the theoretical
// arrival time of its next call. A caller whose time is in the past has its full
// burst, like one never seen, and is removed. A caller that has used its burst is
// kept for burst/rate seconds.
type limiter[K comparable] struct {
	// interval is the time between two calls at the limit; 0 without a limit.
	interval time.Duration
	// burst is how far ahead of now a theoretical arrival time may be.
	burst time.Duration

	mu sync.Mutex
	// arrivals are the theoretical arrival times.
	arrivals map[K]time.Time
	// sweepAt is the size of arrivals at which past times are removed.
	sweepAt int
}

// minSweep is the least sweepAt.
const minSweep = 1024

func newLimiter[K comparable](r Rate) *limiter[K] {
	l := &limiter[K]{arrivals: map[K]time.Time{}, sweepAt: minSweep}
	if r.PerSecond > 0 {
		l.interval = time.Duration(float64(time.Second) / r.PerSecond)
		l.burst = time.Duration(max(r.Burst, 1)) * l.interval
	}
	return l
}

// reserve counts a call and returns the time until its turn, which is 0 within the burst.
// If that is longer than patience, reserve reports false and counts nothing.
func (l *limiter[K]) reserve(caller K, now time.Time, patience time.Duration) (wait time.Duration, ok bool) {
	if l.interval == 0 {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	arrival := l.arrivals[caller]
	if arrival.Before(now) {
		arrival = now
	}
	arrival = arrival.Add(l.interval)
	wait = max(0, arrival.Sub(now)-l.burst)
	if wait > patience {
		return wait, false
	}
	l.arrivals[caller] = arrival
	if len(l.arrivals) >= l.sweepAt {
		l.sweep(now)
	}
	return wait, true
}

// cancel undoes the last reservation of a caller.
func (l *limiter[K]) cancel(caller K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if arrival, ok := l.arrivals[caller]; ok {
		l.arrivals[caller] = arrival.Add(-l.interval)
	}
}

// sweep removes the callers whose time is in the past.
func (l *limiter[K]) sweep(now time.Time) {
	for caller, arrival := range l.arrivals {
		if !arrival.After(now) {
			delete(l.arrivals, caller)
		}
	}
	l.sweepAt = max(2*len(l.arrivals), minSweep)
}

// subnetBits is the prefix length of the smallest IPv6 network that a site gets
// (RFC 6177).
const subnetBits = 64

// rateKey returns the address or the IPv6 network whose calls are counted together.
func rateKey(address netip.Addr) netip.Addr {
	if address.Is6() {
		if prefix, err := address.Prefix(subnetBits); err == nil {
			return prefix.Addr()
		}
	}
	return address
}

// rateError returns the error of a call whose turn would come too late.
func rateError(who string, wait time.Duration) error {
	err := connect.NewError(connect.CodeResourceExhausted, errors.New("too many calls from "+who+": try again later"))
	err.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return err
}
