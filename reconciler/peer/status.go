package peer

import (
	"net/netip"
	"time"
)

// State is what is known of the connection to a peer.
type State string

// The states of a peer.
const (
	// Unknown: the endpoint was just changed, or there is none to try.
	Unknown State = "unknown"
	// Up: there is a recent handshake.
	Up State = "up"
	// Down: there is no recent handshake.
	Down State = "down"
)

const (
	// handshakeExpiry is the age at which a handshake says nothing any more:
	// the WireGuard protocol's Reject-After-Time, Rekey-Timeout and
	// Rekey-Attempt-Time of 180, 5 and 90 seconds (WireGuard paper, section 6.1).
	handshakeExpiry = (180 + 5 + 90) * time.Second
	// rejectAfterTime is how long data may come after a handshake: Reject-After-Time.
	rejectAfterTime = 180 * time.Second
	// initiation is the size of a request for a handshake, in bytes (WireGuard
	// paper, section 5.4.2). WireGuard counts it as received, as it does data.
	initiationSize = 148
	// answer is how long a handshake may take from when the request for it was seen to
	// go out. WireGuard sends the next after 5 seconds (Rekey-Timeout), which is then
	// for the next endpoint: there is time until then for a look that comes late.
	endpointTrial = 2 * time.Second
	// maxEndpointTrial ends the trial of an endpoint that was heard and yet had no
	// handshake, as when the requests of both sides cross, or that nothing was
	// sent to.
	maxEndpointTrial = 15 * time.Second
)

const (
	// silence is how long a peer that is up may send nothing before it is asked
	// for a sign of life: longer than the usual keepalive, although of two sides
	// that send keepalives one alone may do so, since those of the other put off
	// its own.
	probeAfter = 35 * time.Second
	// probeTimeout is how long the sign may take: WireGuard answers data with a
	// keepalive after 10 seconds, and asks for a new session after 15 without
	// (Keepalive-Timeout and Rekey-Timeout).
	probeTimeout = 15 * time.Second
	// probeInterval is how long until it is asked once more: data may be lost.
	probeInterval = 3 * time.Second
	// withdrawnTimeout is the same for a peer that says that it has left the endpoint.
	withdrawnTimeout = 2 * time.Second
	// minEndpointTrial is how long an endpoint is tried at least when the network changes.
	minEndpointTrial = 2 * time.Second
)

// quiet is how long the machine that does not begin waits for the other to: a
// handshake takes one round trip, and half a second more for the other machine
// to learn of this one.
const initiationDelay = time.Second

// Spec is what is configured of a peer.
type Spec struct {
	// Endpoints are tried in this order.
	Endpoints []netip.AddrPort
	// Addresses are those that the peer says it has, Listed its endpoints as
	// discovery lists them.
	Addresses []netip.Addr
	Listed    []netip.AddrPort
	// Initiator tells that this machine opens the conversation with a new peer. Of
	// two machines one should: handshakes that cross spoil each other, and
	// WireGuard tries again only after 5 seconds (WireGuard paper, section 6.4).
	// When both begin, or both wait, the tunnel still comes up, later.
	Initiator bool
	// NetworkChanged tells that the network of this machine has changed since the last
	// step: what was true of an endpoint may be so no more.
	NetworkChanged bool
}

// Status is what is known of a peer; its zero value is a peer not seen before.
type Status struct {
	State State
	// Endpoint is where WireGuard sends to now, which may have roamed.
	Endpoint netip.AddrPort
	// LastUsedEndpoint was the last to be set, LastEndpointChange when that or
	// WireGuard itself changed it.
	LastUsedEndpoint   netip.AddrPort
	LastEndpointChange time.Time
	LastHandshake      time.Time
	// InitiateAfter is set while a new peer is left to begin: without keepalives,
	// which would make WireGuard begin itself.
	InitiateAfter time.Time
	// ReceiveBytes and TransmitBytes are WireGuard's counters.
	ReceiveBytes, TransmitBytes int64

	// EndpointSince is when Endpoint was first seen to be what it is.
	EndpointSince time.Time
	// LastUp is when the peer was last up, or first seen if it never was.
	LastUp time.Time
	// Tried are the endpoints of this round that failed, Rounds how many rounds
	// failed as a whole.
	Tried  []netip.AddrPort
	Rounds int
	// sentAt is by when a packet went to the endpoint on trial; zero when none was seen to.
	sentAt time.Time
	// sendUnconfirmed is set until the first reading after WireGuard was given another
	// endpoint: what that reading counts as sent may have gone to the one before.
	sendUnconfirmed bool
	// heard is set when anything was received since the trial began.
	heard bool
	// alive is set when something other than a handshake was received since the trial
	// began: the session is older than the trial.
	alive bool
	// kernelHandshake is LastHandshake as WireGuard reports it, by a clock that may have
	// been set since.
	kernelHandshake time.Time
	// lastReceived is when the peer last sent something.
	lastReceived time.Time
	// probingSince is when the first liveness probe without an answer was sent.
	probingSince time.Time
	// lastProbe is when the last liveness probe was sent.
	lastProbe time.Time
	// addresses and endpoints are those that the peer had at the last step, withdrawn
	// tells that it was asked for a sign of life since it left the one in use.
	addresses []netip.Addr
	endpoints []netip.AddrPort
	withdrawn bool
}

// Quiet tells that the peer is to have no keepalives for now.
func (s Status) InitiationDeferred() bool { return !s.InitiateAfter.IsZero() }

// Observed is what WireGuard shows of a peer.
type Observed struct {
	// Present tells that WireGuard has the peer.
	Present                     bool
	Endpoint                    netip.AddrPort
	LastHandshake               time.Time
	ReceiveBytes, TransmitBytes int64
}

// Action is what to do about a peer now.
type Action struct {
	// Endpoint is to be set; it is invalid when WireGuard's own is to be left
	// alone, which it is as long as the peer is up, wherever it may have roamed.
	Endpoint netip.AddrPort
	// Probe asks for data to be sent to the peer, for it to answer.
	Probe bool
}
