package peer

import "time"

// RTT is the round-trip time of echoes to a peer through the tunnel. The zero value is that
// of a peer that has answered none.
type RTT struct {
	// Last is the latest sample.
	Last time.Duration
	// Smoothed is SRTT, and Variation RTTVAR, of RFC 6298, section 2.
	Smoothed, Variation time.Duration
}

const (
	// maxRTT is the longest round-trip time. A longer one is that of an echo that waited for the way to
	// come back.
	maxRTT = 2 * time.Second
	// queuedRTT is the longest of an echo that may have waited for a handshake, unless the peer is known
	// to be farther away.
	queuedRTT = 300 * time.Millisecond
)

// plausible reports whether a sample may be the round-trip time. Queued is set if the echo may have been
// sent before the last handshake, for which WireGuard keeps packets.
func (r *RTT) plausible(sample time.Duration, queued bool) bool {
	return sample > 0 && sample <= maxRTT && (!queued || sample <= max(queuedRTT, 2*r.Smoothed))
}

// add takes in a sample (RFC 6298, sections 2.2 and 2.3).
func (r *RTT) add(sample time.Duration) {
	if r.Smoothed == 0 {
		*r = RTT{Last: sample, Smoothed: sample, Variation: sample / 2}
		return
	}
	r.Variation += ((r.Smoothed - sample).Abs() - r.Variation) / 4
	r.Smoothed += (sample - r.Smoothed) / 8
	r.Last = sample
}
