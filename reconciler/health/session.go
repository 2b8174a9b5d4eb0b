package health

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/failure"
)

// SessionState is how far a session has come.
type SessionState string

// The states of a session.
const (
	// Connecting means that there was neither an answer nor a failure.
	Connecting SessionState = "connecting"
	// Connected means that the registry has sent its machines and reports what changes.
	Connected SessionState = "connected"
	// Failed means that the last attempts have failed.
	Failed SessionState = "failed"
)

// Session is a machine's connection to a registry.
type Session struct {
	// Registry is the name of the driver, such as "service".
	Registry string
	// URL is the address of the registry; "" where that is not known, as without a kubeconfig.
	URL string
	// RedirectedTo is the address that it redirects to; "" for none.
	RedirectedTo string
	State        SessionState
	// Since is when the state began.
	Since time.Time
	// Heard is when the registry has last answered with success; zero for never.
	Heard time.Time
	// Failure is the last failure while State is Failed.
	Failure failure.Failure
	// NextTry is when the next attempt begins while State is Failed; zero for unknown.
	NextTry time.Time
	// Unpublished is why the registry does not take this machine, and UnpublishedSince is when
	// that began; zero while it does.
	Unpublished      failure.Failure
	UnpublishedSince time.Time
	// NotJoined is why the registry's relay was not joined; zero if it was, or there is none.
	NotJoined failure.Failure
	// Listed are the endpoints of this machine in the registry: its own, and those at which peers
	// see it. They are not to be changed.
	Listed []netip.AddrPort
	// Skew is by how much this clock is ahead of the registry's, to half a second, as of
	// SkewAt; negative if it is behind. SkewAt is zero while that is not known.
	Skew   time.Duration
	SkewAt time.Time
	// Plain is set where calls go over a network without TLS.
	Plain bool
	// Failures has the number of failures since the registry was opened, by class.
	Failures map[failure.Class]uint64
}

// Skew returns by how much this clock is ahead of one that has said date, in seconds, in answer to
// a request that was sent and answered at times of this clock. It is of no use where the answer
// took long.
func Skew(date, sent, answered time.Time) (skew time.Duration, known bool) {
	took := answered.Sub(sent)
	if date.IsZero() || took < 0 || took > maxSkewTook {
		return 0, false
	}
	skew = sent.Round(0).Add(took / 2).Sub(date.Add(time.Second / 2))
	return skew, true
}

// maxSkewTook is how long an answer may have taken that a clock is judged by.
const maxSkewTook = 10 * time.Second
