package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// State is the state of the connection to a peer.
type State string

// The states of a peer.
const (
	// Unknown is the state while an endpoint is on trial, and of a peer without endpoints.
	Unknown State = "unknown"
	// Up is the state with a recent handshake, or data at the endpoint in use.
	Up State = "up"
	// Down is the state when every endpoint has failed.
	Down State = "down"
)

// Spec is the configuration of one peer.
type Spec struct {
	// Endpoints are the candidates, in the order in which they are tried.
	Endpoints []netip.AddrPort
	// Ready is how many of them, the first, are known to carry packets, such as those of relays: the
	// trial of any other ends for them unless it has had an answer.
	Ready int
	// Leave is set in the pass in which the endpoint in use is given up, although it may answer.
	Leave bool
	// Addresses are the addresses that the peer publishes as its own.
	Addresses []netip.Addr
	// Listed are the peer's endpoints as discovery lists them.
	Listed []netip.AddrPort
	// Initiator is set when this machine sends the first handshake initiation to a new
	// peer. One of two machines should: when their initiations cross, both may be lost, and
	// WireGuard repeats them after 5 seconds only (WireGuard paper, section 6.4). If both or
	// neither are the initiator, the tunnel comes up too, but later.
	Initiator bool
	// NetworkChanged is set when this machine's network has changed since the last step:
	// any endpoint may have become reachable or unreachable.
	NetworkChanged bool
	// LeaveAtRest is set when keepalives are off: a peer is not probed, and does not go down,
	// while this machine has nothing to send to it.
	LeaveAtRest bool
	// IdleAfter is how long a peer that answers echoes may be silent before it is probed,
	// although nothing was sent to it; zero for ever.
	IdleAfter time.Duration
	// MeasureAfter is how long after an echo another one measures the round-trip time; zero
	// for never.
	MeasureAfter time.Duration
	// MayProbeIdle is set while this step may send a probe that can as well be sent later.
	MayProbeIdle bool
	// Contested is set while another peer claims a prefix that this one has.
	Contested bool
	// ProbeNow is set when the peer is to be probed at once, as another one begins to claim
	// what it has.
	ProbeNow bool
	// Displaced is set when another peer has completed a later handshake at this one's
	// endpoint than anything that was received from this one.
	Displaced bool
	// Relayed is set while a relay carries the peer's traffic.
	Relayed bool
	// Filtered is set while this machine's firewall lets no probe to the peer out: that none is answered
	// shows nothing.
	Filtered bool
}

// Status is the state of the connection to one peer. The zero value is a peer that was not
// seen before.
type Status struct {
	State State
	// Endpoint is where WireGuard sends to now. WireGuard changes it when the peer roams.
	Endpoint netip.AddrPort
	// EndpointSince is when Endpoint was first seen at its present value.
	EndpointSince Instant
	// LastUsedEndpoint is the endpoint that was set last.
	LastUsedEndpoint netip.AddrPort
	// LastEndpointChange is when the present trial began: an endpoint was set, or
	// WireGuard changed it while the peer was not up.
	LastEndpointChange time.Time
	// LastHandshake is the time of the last handshake, by this machine's present clock.
	LastHandshake time.Time
	// LastUp is when the peer was last up, or was first seen if it never was.
	LastUp Instant
	// FirstSeen is when the peer was first seen.
	FirstSeen Instant
	// UpSince is when the peer came up last; zero if it was never up.
	UpSince Instant
	// HeardAt is when something was last received from the peer; zero if nothing was since it was
	// first seen.
	HeardAt Instant
	// Downs are the last times at which the peer went down, the latest last.
	Downs []time.Time
	// Contact is what passes while the peer is not up.
	Contact Contact
	// Echoes counts the echoes to the peer.
	Echoes Echoes
	// InitiateAfter is when this machine initiates a handshake with a new peer if the peer
	// has not; zero when nothing is deferred. Until then the peer has no keepalives, since
	// they would make WireGuard initiate.
	InitiateAfter time.Time
	// ReceiveBytes is WireGuard's counter, which starts at zero again when the peer is made anew.
	ReceiveBytes int64
	// TransmitBytes is WireGuard's counter.
	TransmitBytes int64
	// Received and Transmitted count the bytes since the peer was first seen, and what WireGuard had counted
	// by then. They do not fall.
	Received, Transmitted int64
	// RTT is the round-trip time through the tunnel.
	RTT RTT
	// Tried are the endpoints that failed in this round.
	Tried []netip.AddrPort
	// Rounds is how many times every endpoint failed since the peer was last up.
	Rounds int

	// sentAt is the latest time by which a packet was sent to the endpoint on trial; zero
	// while none was.
	sentAt Instant
	// kernelHandshake is LastHandshake as WireGuard reports it, by a clock that may have
	// been stepped since.
	kernelHandshake Instant
	// lastReceived is when ReceiveBytes last grew.
	lastReceived Instant
	// readAt is when the last step was.
	readAt Instant
	// unansweredSince is the earliest time at which something was sent after which nothing
	// was received; zero if there is nothing. Keepalives, which have no answer, do not count.
	unansweredSince Instant
	// probing is the present series of probes.
	probing probing
	// lastProbe is when the last probe or measuring echo was sent.
	lastProbe Instant
	// measured counts the measuring echoes since the last answer.
	measured int
	// distrustedUntil is until when silence after an echo shows nothing.
	distrustedUntil Instant
	// failedEchoAt is when the peer was given up since it did not answer echoes; zero if
	// something was received since.
	failedEchoAt Instant
	// Lossy is set while a fifth of the echoes or more had no answer, until less than a tenth has none.
	Lossy bool
	// sendUnconfirmed is set until the first reading after a change of endpoint: bytes that
	// this reading counts as sent may have gone to the previous endpoint.
	sendUnconfirmed bool
	// received is set when anything was received since the trial began.
	received bool
	// alive is set when something other than a handshake initiation was received since the
	// trial began: a session from before the trial is still in use.
	alive bool
	// moved is set when the last reading showed that bytes were sent or received, moving when
	// the one before did, too.
	moved, moving bool
	// echoes is set when the peer has answered an echo.
	echoes bool
	// displaced is set when another peer was found at the endpoint of this one.
	displaced bool
	// contested is Spec.Contested, and leftAtRest is Spec.LeaveAtRest, at the last step.
	contested, leftAtRest bool
	// addresses are Spec.Addresses at the last step.
	addresses []netip.Addr
	// listed are Spec.Listed at the last step.
	listed []netip.AddrPort
}

// InitiationDeferred reports whether the peer is left without keepalives for now, so that
// the other machine sends the first handshake initiation.
func (s *Status) InitiationDeferred() bool { return !s.InitiateAfter.IsZero() }

// Unreachable reports whether every endpoint of a peer was tried and none answered.
func (s *Status) Unreachable() bool {
	switch s.State {
	case Down:
		return s.Rounds > 0 || len(s.Tried) == 0
	case Unknown:
		return !s.LastUsedEndpoint.IsValid()
	default:
		return false
	}
}

// Shift returns the status after the machine's clock was stepped by some time.
func (s Status) Shift(by time.Duration) Status {
	if by == 0 {
		return s
	}
	for _, t := range []*time.Time{&s.LastEndpointChange, &s.LastHandshake, &s.InitiateAfter, &s.Contact.LastCall} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	for _, t := range []*Instant{&s.sentAt, &s.lastReceived, &s.probing.since, &s.lastProbe, &s.readAt, &s.unansweredSince,
		&s.distrustedUntil, &s.failedEchoAt, &s.EndpointSince, &s.LastUp, &s.FirstSeen, &s.UpSince, &s.HeardAt} {
		t.shift(by)
	}
	s.Downs = slices.Clone(s.Downs)
	for i := range s.Downs {
		s.Downs[i] = s.Downs[i].Add(by)
	}
	return s
}

// Observed is what WireGuard shows of a peer.
type Observed struct {
	// Key is the peer's public key. Step ignores it.
	Key mesh.Key
	// Present is set when WireGuard has the peer.
	Present bool
	// Endpoint is where WireGuard sends to; invalid when it has none.
	Endpoint netip.AddrPort
	// LastHandshake is the time of the last handshake; zero when there was none.
	LastHandshake time.Time
	// ReceiveBytes counts what was received from the peer since it was made.
	ReceiveBytes int64
	// TransmitBytes counts what was sent to the peer since it was made.
	TransmitBytes int64
	// Replied is set when the peer has answered an echo since the last step.
	Replied bool
	// RTT is the round-trip time of that echo; zero if it is not known.
	RTT time.Duration
}

// Action is what to do about a peer now. The zero value is nothing.
type Action struct {
	// Endpoint is the endpoint to set. It is invalid when WireGuard's own stays, as it
	// always does while the peer is up, even if the peer has roamed.
	Endpoint netip.AddrPort
	// Renew has WireGuard make a new session, and drop the present one.
	Renew bool
	// Probe is set when a liveness probe is due: data through the tunnel, which the peer's
	// WireGuard answers.
	Probe bool
	// Measure is set when an echo is due that measures the round-trip time.
	Measure bool
}
