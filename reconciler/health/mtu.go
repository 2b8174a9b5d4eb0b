package health

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// PathMTU is which packets pass on the way to a peer.
type PathMTU struct {
	// Peer is the peer's name.
	Peer string
	// Full is the largest packet that was tried, in bytes: the link's MTU.
	Full int
	// Passes is the largest that passed, in bytes; zero if not even leastMTU did.
	Passes int
}

// leastMTU is the size of a packet in bytes that every link with IPv6 passes (RFC 8200, section 5).
const leastMTU = 1280

// judgeMTU finds the ways on which large packets are lost and small ones are not.
func judgeMTU(_ time.Time, s *Snapshot) []condition.Condition {
	var found []condition.Condition
	for _, p := range s.PathMTUs {
		if c, is := p.Condition(); is {
			found = append(found, c)
		}
	}
	return found
}

// Condition returns the condition of a way on which large packets are lost.
func (p PathMTU) Condition() (c condition.Condition, is bool) {
	c = condition.Condition{Code: condition.MTUBlackHole, Subject: p.Peer}
	switch {
	case p.Passes >= p.Full:
		return condition.Condition{}, false
	case p.Passes == 0:
		c.Cause = fmt.Sprintf("%d bytes to %s are lost, and so are %d, the least that IPv6 allows", p.Full, p.Peer, leastMTU)
		c.Remedy = "let the networks on the way pass larger packets of UDP, or their fragments"
	default:
		c.Cause = fmt.Sprintf("%d bytes to %s are lost, %d pass", p.Full, p.Peer, p.Passes)
		c.Remedy = fmt.Sprintf("set machine.network.kubespan.mtu: %d here and at %s", p.Passes, p.Peer)
	}
	return c, true
}
