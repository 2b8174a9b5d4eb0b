package peer

import "time"

// Timers of the WireGuard protocol (WireGuard paper, section 6.1).
const (
	// RejectAfterTime is how long a session may be used after its handshake.
	RejectAfterTime = 180 * time.Second
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

// keepaliveSize is the size of a keepalive in bytes: a data message without data (WireGuard
// paper, sections 5.4.6 and 6.5).
const keepaliveSize = 32

// Timers of an endpoint's trial.
const (
	// handshakeExpiry is the age at which a handshake no longer shows that a peer is
	// reachable: every session is unusable and WireGuard has given up on another.
	// KubeSpan on Talos uses the same 275 seconds.
	handshakeExpiry = RejectAfterTime + rekeyTimeout + rekeyAttemptTime
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

// Timers of the liveness probe, for a peer that has answered an echo before. Each of two sides
// probes, and a packet either way is news for both.
const (
	// unansweredAfter is how long a peer may be silent after something was sent to it before
	// it is probed: an answer that takes longer is useless to most programs.
	unansweredAfter = 3 * time.Second
	// idleAfterInitiator and idleAfterOther are how long a peer may be silent to which
	// nothing is sent. Two readings of RestInterval may add 4 seconds, and the probes
	// echoTimeout: down within 20 seconds on either side. The initiator is mostly first, so
	// that the other side does not probe.
	idleAfterInitiator = 7500 * time.Millisecond
	idleAfterOther     = 10 * time.Second
	// echoTimeout is how long a peer may leave echoes unanswered. With unansweredAfter and
	// two readings of ActiveInterval, it is down 10 seconds after the last packet from it.
	// Nine echoes fit. Where a tenth of the packets is lost in each direction, 19 % of the
	// echoes have no answer, and one of three million series of nine.
	echoTimeout = 5 * time.Second
	// echoInterval is the pause after the first echo: most answers take less than a second.
	echoInterval = time.Second
	// echoRetryInterval is the pause after each further echo.
	echoRetryInterval = 500 * time.Millisecond
	// minEchoes is how many echoes must have been sent, however late the readings were.
	minEchoes = 4
	// contestedAfter replaces unansweredAfter, and the pauses of a peer at rest, for a peer
	// whose addresses another one claims: that one takes over 10 seconds after the last sign
	// of the owner, with a second for a busy machine.
	contestedAfter = 2 * time.Second
	// contestedTimeout replaces echoTimeout for a peer whose addresses another one begins to
	// claim: a machine that was set up anew is to be reachable in 5 seconds.
	contestedTimeout = 3 * time.Second
	// distrustTime is how long a peer is judged by WireGuard's answers after its echoes had
	// no answer although it was there: its firewall limits or drops them.
	distrustTime = 10 * time.Minute
	// maxProbeGap is the time between two probes after which their series starts again. It is
	// longer than any pause between two readings of a large mesh.
	maxProbeGap = 10 * time.Second
)

// Timers of the liveness probe, for a peer that answers no echo, but with its WireGuard.
const (
	// probeAfter is how long a peer that is up may be silent before it is probed: the usual
	// keepalive interval of 25 seconds and keepaliveTimeout. Only one of two sides may be
	// sending keepalives, since each packet that is received postpones the other's.
	probeAfter = 25*time.Second + keepaliveTimeout
	// probeTimeout is how long the answer to a probe may take: WireGuard answers data with a
	// keepalive after keepaliveTimeout, and its sender starts another handshake when there
	// is no answer after rekeyTimeout more.
	probeTimeout = keepaliveTimeout + rekeyTimeout
	// withdrawnTimeout replaces both timeouts where the peer no longer lists the address at
	// which it was reached: it has most likely left it.
	withdrawnTimeout = 2 * time.Second
	// probeInterval is the pause between two probes without an answer: a probe may be lost.
	probeInterval = 3 * time.Second
)

// Timers of the echoes that measure the round-trip time.
const (
	// measureAfter is the pause after an echo before the next: a packet of 124 bytes each way.
	measureAfter = 30 * time.Second
	// firstEchoes is how many echoes are sent to a new peer, firstEchoInterval apart. One may
	// be lost, and the answer decides how the peer is judged.
	firstEchoes       = 3
	firstEchoInterval = 2 * time.Second
	// lossyInterval is the pause after an echo without an answer, and where many are lost.
	lossyInterval = 5 * time.Second
)

// Rates that bound probes which can as well be sent later, for the whole mesh and a second.
const (
	// maxIdleRate makes peers at rest wait longer in a mesh of more than 225.
	maxIdleRate = 30
	// maxMeasureRate makes measuring rarer in a mesh of more than 600.
	maxMeasureRate = 20
)

// Intervals between two readings of WireGuard's peers.
const (
	// IdleInterval is the interval of a machine without peers.
	IdleInterval = 30 * time.Second
	// RestInterval is the interval while no peer is expected to change: a peer may make a
	// handshake at any moment, and WireGuard does not announce it.
	RestInterval = 2 * time.Second
	// ActiveInterval is the interval while a peer's bytes move, or it has not yet answered.
	ActiveInterval = time.Second
	// trialInterval is the interval while a peer may come up at any moment. It grows with
	// the time that the peer has not been up, to retryInterval.
	trialInterval = 500 * time.Millisecond
	retryInterval = 2 * time.Second
	// largeMesh is the number of peers above which a trial is read at RestInterval: a reading
	// costs milliseconds there (docs/benchmarks.md), and some peer is always on trial.
	largeMesh = 500
	// retrySlowdown is the ratio of the time that a peer has not been up to the interval.
	retrySlowdown = 10
	// confirmInterval follows a change of endpoint: bytes that are counted as sent after
	// that reading went to the new endpoint.
	confirmInterval = 50 * time.Millisecond
)
