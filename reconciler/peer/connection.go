package peer

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Connection is everything known about how to reach one peer.
type Connection struct {
	// Key is the peer's public key.
	Key mesh.Key
	// NodeID is the node ID of the peer's affiliate.
	NodeID string
	// Candidates are the endpoints to try, best first. While the peer is up they are in
	// the order of discovery.
	Candidates []netip.AddrPort
	// LastGood is the endpoint at which the peer was last up, perhaps under another key or
	// by an earlier process; invalid for none.
	LastGood netip.AddrPort
	// Status has the endpoint in use, those that failed, and the state.
	Status Status
	// Action is what this pass does about the peer.
	Action Action
	// Relay is the peer that carries this one's traffic; zero for none.
	Relay mesh.Key
	// BlindRelay is the blind relay whose endpoint is in use; zero for none.
	BlindRelay mesh.Key
	// Path is the direct path to which the peer was moved; nil for none. It is replaced, and never changed.
	Path *mesh.Path

	// withoutAgent is mesh.PeerSpec.WithoutAgent.
	withoutAgent bool

	passage passage
	// shunned is nil for nothing, as of most peers. It is replaced, and never changed: copies of the connection
	// have it as well.
	shunned *shunned
}

// shunned are endpoints that are not used for a peer.
type shunned struct {
	// barred is a path on which probes were answered, and WireGuard's packets were not. It is not used
	// until a time, which is the later the more often, bars, that was so.
	barred      netip.AddrPort
	barredUntil Instant
	bars        int
	// former is the endpoint of a relay that was in use, and is none for this machine any more.
	former formerRelay
}

// path returns the direct path to which the peer was moved; its endpoint is not valid for none.
func (c *Connection) path() mesh.Path {
	if c.Path == nil {
		return mesh.Path{}
	}
	return *c.Path
}

// shuns returns the endpoints that are not used for the peer.
func (c *Connection) shuns() shunned {
	if c.shunned == nil {
		return shunned{}
	}
	return *c.shunned
}

// shun sets the endpoints that are not used for the peer.
func (c *Connection) shun(s shunned) {
	switch {
	case s == c.shuns():
	case s == shunned{}:
		c.shunned = nil
	default:
		kept := s // it alone is allocated
		c.shunned = &kept
	}
}

type formerRelay struct {
	key mesh.Key
	at  netip.AddrPort
}

// IsUp reports whether the peer is up.
func (c *Connection) IsUp() bool { return c.Status.State == Up }

// Relayed reports whether a relay carries the peer's traffic.
func (c *Connection) Relayed() bool { return !c.Relay.IsZero() }

// Connections are the connections to the peers of a mesh, sorted by key.
type Connections []Connection

// Find returns the connection to the peer with a key, or nil. Other lists of peers have the
// same order: the connection is first looked for at index hint.
func (cs Connections) Find(key mesh.Key, hint int) *Connection {
	i, found := cs.find(key, hint)
	if !found {
		return nil
	}
	return &cs[i]
}

func (cs Connections) find(key mesh.Key, hint int) (i int, found bool) {
	if hint < len(cs) && cs[hint].Key == key {
		return hint, true
	}
	first, last := 0, len(cs)
	for first < last {
		middle := (first + last) / 2
		if cs[middle].Key.Compare(key) < 0 {
			first = middle + 1
		} else {
			last = middle
		}
	}
	return first, first < len(cs) && cs[first].Key == key
}

// NextCheck returns how long the next reading of the peers may wait. Stepped are the indexes of those that
// Tracker.Next has stepped.
func (cs Connections) NextCheck(now time.Time, stepped []int) time.Duration {
	next := NextCheck(now, func(yield func(*Status) bool) {
		for _, i := range stepped {
			if !yield(&cs[i].Status) {
				return
			}
		}
	}, len(cs))
	if len(cs) > 0 {
		next = min(next, RestInterval)
	}
	for _, i := range stepped {
		next = min(next, cs[i].passage.next(now))
	}
	return next
}

// SameRelays reports whether both lists have the same peers behind the same relays. Stepped are the indexes
// of those that Tracker.Next has stepped after other was committed.
func (cs Connections) SameRelays(other Connections, stepped []int) bool {
	if len(cs) != len(other) {
		return false
	}
	for _, i := range stepped {
		if cs[i].Key != other[i].Key || cs[i].Relay != other[i].Relay {
			return false
		}
	}
	return true
}
