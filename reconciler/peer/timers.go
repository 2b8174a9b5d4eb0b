package peer

import "time"

// Timers of the WireGuard protocol (WireGuard paper, section 6.1).
const (
	// rejectAfterTime is how long a session may be used after its handshake.
	rejectAfterTime = 180 * time.Second
	// rekeyTimeout is the pause between two handshake initiations, without jitter.
	rekeyTimeout = 5 * time.Second
	// rekeyAttemptTime is how long WireGuard goes on initiating.
	rekeyAttemptTime = 90 * time.Second
	// keepaliveTimeout is when WireGuard answers received data with a keepalive, if it
	// has no data to send.
	keepaliveTimeout = 10 * time.Second
)

// initiationSize is the size of a handshake initiation in bytes (WireGuard paper,
// section 5.4.2). WireGuard counts initiations as received bytes, as it does data.
const initiationSize = 148

// Timers of an endpoint's trial.
const (
	// handshakeExpiry is the age at which a handshake no longer shows that a peer is
	// reachable: every session is unusable and WireGuard has given up on another.
	// KubeSpan on Talos uses the same 275 seconds.
	handshakeExpiry = rejectAfterTime + rekeyTimeout + rekeyAttemptTime
	// endpointTrial is how long the answer to a handshake initiation may take. It has to
	// end before the next initiation, after rekeyTimeout, which is then sent to the next
	// endpoint; 3 seconds are left for a reading that comes late.
	endpointTrial = 2 * time.Second
	// maxEndpointTrial ends every trial: that of an endpoint from which something was
	// received but no handshake, as when the initiations of both sides cross, and that of
	// one to which nothing was sent. KubeSpan on Talos gives each endpoint 15 seconds.
	maxEndpointTrial = 15 * time.Second
	// minEndpointTrial is how long an endpoint is kept although the network changes: one
	// change is often several events.
	minEndpointTrial = 2 * time.Second
	// initiationWithin is how long WireGuard may take to send to an endpoint that it was
	// given: until its next initiation, which a jitter of up to a third of a second delays.
	initiationWithin = rekeyTimeout + time.Second
	// initiationDelay is how long the machine that is not the initiator leaves a new peer
	// to the other: a handshake takes one round trip, and the other machine may learn of
	// this one half a second later.
	initiationDelay = time.Second
)

// Timers of the liveness probe.
const (
	// probeAfter is how long a peer that is up may be silent before it is probed: the usual
	// keepalive interval of 25 seconds and keepaliveTimeout. Only one of two sides may be
	// sending keepalives, since each packet that is received postpones the other's.
	probeAfter = 25*time.Second + keepaliveTimeout
	// probeTimeout is how long the answer to a probe may take: WireGuard answers data with a
	// keepalive after keepaliveTimeout, and its sender starts another handshake when there
	// is no answer after rekeyTimeout more.
	probeTimeout = keepaliveTimeout + rekeyTimeout
	// withdrawnTimeout replaces probeTimeout where the peer no longer lists the address at
	// which it was reached: it has most likely left it.
	withdrawnTimeout = 2 * time.Second
	// probeInterval is the pause between two probes without an answer: a probe may be lost.
	probeInterval = 3 * time.Second
)

// Intervals between two readings of WireGuard's peers.
const (
	// IdleInterval is the interval while no peer is expected to change.
	IdleInterval = 30 * time.Second
	// trialInterval is the interval while a peer may come up at any moment. It grows with
	// the time that the peer has not been up, to retryInterval.
	trialInterval = 500 * time.Millisecond
	retryInterval = 2 * time.Second
	// largeMeshInterval replaces both in a mesh of more than largeMesh peers, where a
	// reading costs milliseconds (docs/benchmarks.md).
	largeMeshInterval = 5 * time.Second
	largeMesh         = 500
	// retrySlowdown is the ratio of the time that a peer has not been up to the interval.
	retrySlowdown = 10
	// confirmInterval follows a change of endpoint: bytes that are counted as sent after
	// that reading went to the new endpoint.
	confirmInterval = 50 * time.Millisecond
)
