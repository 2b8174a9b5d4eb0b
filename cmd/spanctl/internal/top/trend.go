package top

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

const (
	// bucketTime is the time that a column of a trend stands for: a peer is sent an echo as often.
	bucketTime = 30 * time.Second
	// maxBuckets is how many are kept: an hour.
	maxBuckets = 120
)

// bucket is what was seen of a peer in a time of bucketTime.
type bucket struct {
	// rtt is the round-trip time in seconds; 0 for none.
	rtt float64
	// down is set if the peer was down, up if it was up.
	down, up bool
}

// bucketOf returns what an answer has about a peer.
func bucketOf(p *agentpb.Peer) bucket {
	b := bucket{down: p.GetState() == "down", up: p.GetState() == "up"}
	if !b.down {
		b.rtt = max(p.GetRttSeconds(), 0)
	}
	return b
}

// trend is the history of a peer.
type trend struct {
	// buckets end with that of last.
	buckets []bucket
	// last is the number of the last one since 1970.
	last int64
}

func (t *trend) clone() *trend { return &trend{slices.Clone(t.buckets), t.last} }

func numberOf(at time.Time) int64 { return at.Unix() / int64(bucketTime/time.Second) }

// put adds what was seen at a time. Where the clock was set back, the trend begins anew.
func (t *trend) put(at time.Time, b bucket) {
	n := numberOf(at)
	if len(t.buckets) == 0 || n < t.last || n-t.last >= maxBuckets {
		t.buckets, t.last = append(t.buckets[:0], b), n
		return
	}
	if n > t.last {
		t.buckets = append(append(t.buckets, make([]bucket, n-t.last-1)...), b)
		t.buckets = slices.Delete(t.buckets, 0, max(len(t.buckets)-maxBuckets, 0))
		t.last = n
		return
	}
	now := &t.buckets[len(t.buckets)-1]
	now.down, now.up = now.down || b.down, now.up || b.up
	if b.rtt > 0 {
		now.rtt = b.rtt
	}
}

// fill adds samples of the agent to what was seen.
func (t *trend) fill(samples []Sample) {
	all := make([]bucket, maxBuckets)
	first := t.last - maxBuckets + 1
	for _, s := range samples {
		if i := numberOf(s.Time) - first; i >= 0 && i < maxBuckets {
			all[i] = bucket{rtt: max(s.RTT, 0), down: s.State == "down", up: s.State == "up"}
		}
	}
	for i, seen := range t.buckets {
		at := &all[maxBuckets-len(t.buckets)+i]
		at.down, at.up = at.down || seen.down, at.up || seen.up
		if seen.rtt > 0 {
			at.rtt = seen.rtt
		}
	}
	known := max(slices.IndexFunc(all, func(b bucket) bool { return b != bucket{} }), 0)
	t.buckets = all[known:]
}

// The signs of a trend.
const (
	signDown    = "x"
	signNoRTT   = "."
	signUnknown = " "
)

var levels = []rune("▁▂▃▄▅▆▇█")

// line returns the latest buckets as a line of so many columns, the latest at its end. A steady
// round-trip time is at half the height.
func (t *trend) line(width int) string {
	if t == nil {
		return ""
	}
	shown := t.buckets[max(len(t.buckets)-max(width, 0), 0):]
	top := scale(shown)
	var b strings.Builder
	for _, one := range shown {
		switch {
		case one.down:
			b.WriteString(signDown)
		case one.rtt > 0:
			b.WriteRune(level(one.rtt / top))
		case one.up:
			b.WriteString(signNoRTT)
		default:
			b.WriteString(signUnknown)
		}
	}
	return b.String()
}

// level returns the sign of a height: 1 is all of it.
func level(height float64) rune {
	return levels[min(max(int(math.Ceil(height*float64(len(levels))))-1, 0), len(levels)-1)]
}

// known returns the round-trip times in seconds, in rising order.
func known(buckets []bucket) []float64 {
	var times []float64
	for _, b := range buckets {
		if b.rtt > 0 && !b.down {
			times = append(times, b.rtt)
		}
	}
	slices.Sort(times)
	return times
}

// scale returns the round-trip time of the full height: twice the median, or the longest.
func scale(buckets []bucket) float64 {
	times := known(buckets)
	if len(times) == 0 {
		return 1
	}
	return max(2*times[len(times)/2], times[len(times)-1])
}
