package page

import (
	"math"
	"time"
)

// Calls are the methods that the page counts. All but the last, which is a stream, are timed.
var Calls = [...]string{"Hello", "AffiliateUpdate", "AffiliateDelete", "List", "Watch"}

// Timed is how many of the Calls are timed.
const Timed = len(Calls) - 1

// Reason is why a call or a connection was refused.
type Reason int

// The reasons of refusals.
const (
	// Limit is a call beyond a rate or another limit.
	Limit Reason = iota
	// Token is a call without the token of its cluster.
	Token
	// Invalid is a call that cannot be understood, or is too large.
	Invalid
	// Failed is a call that the server could not serve.
	Failed
	// Connections is a connection beyond a limit.
	Connections
	// Silent is a connection that was closed because its client sent or took nothing.
	Silent

	reasonCount
)

// reasonNames are the names of reasons in an answer.
var reasonNames = [reasonCount]string{"limit", "token", "invalid", "failed", "connections", "silent"}

// bucketCount is the number of buckets of a Histogram.
const bucketCount = 17

// Bounds are the upper bounds of all buckets but the last, in seconds: from 50 µs to 1.6 s.
var Bounds = func() (bounds [bucketCount - 1]float64) {
	for i := range bounds {
		bounds[i] = math.Ldexp(50e-6, i)
	}
	return bounds
}()

// Histogram counts durations that are no longer than each of the Bounds. The last bucket has all.
type Histogram [bucketCount]uint64

// Reading is the state of a server at a time. Calls, Refusals and Durations count since its start.
type Reading struct {
	// Uptime is how long the server has run, by the monotonic clock.
	Uptime time.Duration

	Clusters, Affiliates, Endpoints, Watches, Connections int
	// Memory is what the process has in use, and Stored what affiliates take, in bytes.
	Memory, Stored int64

	Calls     [len(Calls)]uint64
	Refusals  [reasonCount]uint64
	Durations [Timed]Histogram
}

// The columns of a row.
const (
	clusters = iota
	affiliates
	endpoints
	watches
	connections
	memory
	stored
	firstCall
	firstRefusal = firstCall + len(Calls)
	firstMedian  = firstRefusal + int(reasonCount)
	firstSlow    = firstMedian + Timed
	columnCount  = firstSlow + Timed
)

// columnNames are the names of columns in an answer. Rates are per second, latencies in
// milliseconds.
var columnNames = func() (names [columnCount]string) {
	copy(names[:], []string{"clusters", "affiliates", "endpoints", "watches", "connections", "memory", "stored"})
	for i, call := range Calls {
		names[firstCall+i] = "calls." + call
	}
	for i, reason := range reasonNames {
		names[firstRefusal+i] = "refusals." + reason
	}
	for i, call := range Calls[:Timed] {
		names[firstMedian+i], names[firstSlow+i] = "p50."+call, "p99."+call
	}
	return names
}()

// row is what the page shows of a time. What is not known is not a number.
type row struct {
	// at is the uptime at its end.
	at     time.Duration
	values [columnCount]float32
}

var unknown = float32(math.NaN())

// first returns the row of the first reading, which has no rates.
func first(r Reading) row {
	out := row{at: r.Uptime}
	for i := range out.values {
		out.values[i] = unknown
	}
	for i, n := range [...]int{r.Clusters, r.Affiliates, r.Endpoints, r.Watches, r.Connections} {
		out.values[clusters+i] = float32(n)
	}
	out.values[memory], out.values[stored] = float32(r.Memory), float32(r.Stored)
	return out
}

// between returns the row of the time between two readings: the numbers at its end, and the rates
// and latencies meanwhile.
func between(before, after Reading) row {
	out := first(after)
	seconds := (after.Uptime - before.Uptime).Seconds()
	if seconds <= 0 {
		return out
	}
	for i := range after.Calls {
		out.values[firstCall+i] = perSecond(before.Calls[i], after.Calls[i], seconds)
	}
	for i := range after.Refusals {
		out.values[firstRefusal+i] = perSecond(before.Refusals[i], after.Refusals[i], seconds)
	}
	for i := range after.Durations {
		meanwhile := after.Durations[i].since(before.Durations[i])
		out.values[firstMedian+i] = meanwhile.quantile(.5)
		out.values[firstSlow+i] = meanwhile.quantile(.99)
	}
	return out
}

func perSecond(before, after uint64, seconds float64) float32 {
	return float32(float64(after-min(before, after)) / seconds)
}

// since returns what has been counted since an earlier time.
func (h Histogram) since(before Histogram) Histogram {
	for i := range h {
		h[i] -= min(before[i], h[i])
	}
	return h
}

// quantile returns the duration that a part of all durations is no longer than, in milliseconds. It
// is not a number if there are none. Within a bucket, durations are taken to be spread evenly; those
// of the last bucket are taken for its bound.
func (h Histogram) quantile(part float64) float32 {
	all := h[bucketCount-1]
	if all == 0 {
		return unknown
	}
	rank := part * float64(all)
	var below uint64
	lower := 0.0
	for i, upper := range Bounds {
		if float64(h[i]) >= rank {
			return float32(1000 * (lower + (upper-lower)*(rank-float64(below))/float64(h[i]-below)))
		}
		below, lower = h[i], upper
	}
	return float32(1000 * lower)
}
