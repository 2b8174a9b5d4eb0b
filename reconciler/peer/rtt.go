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
