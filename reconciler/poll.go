package reconciler

import (
	"time"

	"github.com/spanmesh/span/reconciler/peer"
)

const (
	// restShare is how many times longer than a poll costs the loop waits at least. The
	// loop has to poll, because WireGuard does not report changes; 500 keeps that below 0.2 %
	// of a processor. A pass over 1,000 peers takes about 8 ms, so they are read every 4 s.
	restShare = 500
	// dueShare is the same where a peer is expected to change within less than a second, such
	// as one on trial: at most 5 % of a processor, for a short time.
	dueShare = 20
	// maxPollCost and maxPeerCost are more than a poll costs on a slow machine, and each peer of
	// it. Small meshes are thus read at their intervals however busy the machine is.
	maxPollCost = time.Millisecond
	maxPeerCost = 20 * time.Microsecond
)

// pollCost returns what a poll of some peers costs, of the processor's time, from what was
// known before and how long the last one took. That may be much longer, as other programs run
// meanwhile: for one poll, or for hours.
func pollCost(before, took time.Duration, peers int) time.Duration {
	took = min(took, maxPollCost+time.Duration(peers)*maxPeerCost)
	if before == 0 {
		return took
	}
	return min(took, before+before/4)
}

// nextPoll returns how long to wait after a pass, if the next reading may wait for next, and
// polls cost some time.
func nextPoll(next, cost time.Duration) time.Duration {
	share := time.Duration(restShare)
	if next < peer.ActiveInterval {
		share = dueShare
	}
	return min(max(next, share*cost), peer.IdleInterval)
}
