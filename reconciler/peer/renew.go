package peer

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// renewDelay is how long the end that does not initiate leaves a new session to the other:
	// initiations that cross make both wait for RekeyTimeout (WireGuard paper, section 6.4).
	renewDelay = 1500 * time.Millisecond
	// renewEvery is how soon another initiation follows one that has brought nothing, such as where the
	// other end is not registered with the relay yet. WireGuard's own comes after RekeyTimeout.
	renewEvery = 1200 * time.Millisecond
	// maxRenewals is how often that is tried. Then it is WireGuard's turn.
	maxRenewals = 6
)

// passage is the relay that knows the session with a peer. A relay knows where to send the packets of a
// session if it has carried the handshake; it cannot know others.
type passage struct {
	// handshake is when the last handshake was made, and at WireGuard's endpoint then. kernel is handshake
	// by a clock that may have been stepped since.
	handshake, kernel Instant
	at                netip.AddrPort
	// staleSince is since when the relay in use does not know the session; zero while it does.
	staleSince Instant
	// renewedAt is when a new session was last begun, and renewals how often.
	renewedAt Instant
	renewals  int
}

// observe takes WireGuard's reading of the peer.
func (p *passage) observe(seen *Observed) {
	if last := InstantOf(seen.LastHandshake); !last.IsZero() && last != p.kernel {
		p.handshake, p.kernel, p.at = last, last, seen.Endpoint
	}
}

// isStale reports whether the relay at an endpoint does not know the session that WireGuard has.
func (p *passage) isStale(now time.Time, in *Input, spec *mesh.PeerSpec, at netip.AddrPort) bool {
	relay := in.relayAt(spec, at)
	if relay.IsZero() || p.handshake.IsZero() || p.handshake.age(now) >= RejectAfterTime {
		return false
	}
	r := in.registered(relay)
	return r != nil && !r.Lost && (in.relayAt(spec, p.at) != relay || p.handshake.Time().Before(r.ForgotAt))
}

// due reports whether a new session is to be begun now.
func (p *passage) due(now time.Time, initiator bool) bool {
	switch {
	case p.renewals >= maxRenewals:
		return false
	case p.renewals > 0:
		return p.renewedAt.age(now) >= renewEvery
	default:
		return initiator || p.staleSince.age(now) >= renewDelay
	}
}

// renew has WireGuard begin a new session at once where the relay in use does not know the present one,
// as after a move to it, or when it has lost its table. Nothing passes until then: WireGuard itself would
// notice after 15 s.
func (c *Connection) renew(now time.Time, in *Input, spec *mesh.PeerSpec, seen *Observed) {
	p := &c.passage
	if !seen.Present || !p.isStale(now, in, spec, c.Status.Endpoint) {
		p.staleSince, p.renewals = 0, 0
		return
	}
	if p.staleSince.IsZero() {
		p.staleSince = InstantOf(now)
	}
	if !p.due(now, in.Self.Compare(spec.PublicKey) < 0 || !spec.Probes) {
		return
	}
	p.renewals, p.renewedAt = p.renewals+1, InstantOf(now)
	c.Action.Renew = true
	c.Status.InitiateAfter = time.Time{}
	// The peer is made anew: that it has no handshake yet is no news.
	c.Status.kernelHandshake = 0
}

// hasten has WireGuard send the first initiation to an endpoint that is known to carry packets at once,
// by making the peer anew: after one to another endpoint it would wait for RekeyTimeout (WireGuard paper,
// section 6.4).
func (c *Connection) hasten(seen *Observed) {
	if seen.Present && seen.LastHandshake.IsZero() {
		c.Action.Renew = true
		c.Status.InitiateAfter = time.Time{}
	}
}

// next returns how long the next reading of the peer may wait.
func (p *passage) next(now time.Time) time.Duration {
	switch {
	case p.staleSince.IsZero() || p.renewals >= maxRenewals:
		return RestInterval
	case p.renewals > 0:
		return max(0, p.renewedAt.Time().Add(renewEvery).Sub(now))
	default:
		return max(0, p.staleSince.Time().Add(renewDelay).Sub(now))
	}
}

// shift moves all times after the machine's clock was stepped by some time.
func (p *passage) shift(by time.Duration) {
	for _, t := range []*Instant{&p.handshake, &p.staleSince, &p.renewedAt} {
		t.shift(by)
	}
}
