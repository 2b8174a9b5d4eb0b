package peer

// PathKind is how a peer's packets go.
type PathKind string

// The kinds of paths, from the best to none.
const (
	// PathDirect is a path to an endpoint of the peer.
	PathDirect PathKind = "direct"
	// PathPunched is a direct path for which the NATs of both ends had to be opened.
	PathPunched PathKind = "punched"
	// PathBlindRelay is through a relay that cannot read what it carries, by UDP.
	PathBlindRelay PathKind = "blind-relay"
	// PathBlindRelayTCP is the same, and this machine reaches the relay over TCP.
	PathBlindRelayTCP PathKind = "blind-relay-tcp"
	// PathForwarding is through a member that forwards, and can read.
	PathForwarding PathKind = "forwarding"
	// PathNone is that of a peer that is not up.
	PathNone PathKind = "none"
)

// PathKinds returns all kinds of paths.
func PathKinds() []PathKind {
	return []PathKind{PathDirect, PathPunched, PathBlindRelay, PathBlindRelayTCP, PathForwarding, PathNone}
}

// IsRelayed reports whether a relay of any kind carries the packets.
func (k PathKind) IsRelayed() bool {
	return k == PathBlindRelay || k == PathBlindRelayTCP || k == PathForwarding
}

// PathKind returns how the peer's packets go. OverTCP is set where this machine reaches the peer's blind
// relay over TCP.
func (c *Connection) PathKind(overTCP bool) PathKind {
	switch {
	case c.Relayed():
		return PathForwarding
	case !c.IsUp():
		return PathNone
	case !c.BlindRelay.IsZero() && overTCP:
		return PathBlindRelayTCP
	case !c.BlindRelay.IsZero():
		return PathBlindRelay
	case c.path().Punched && c.path().Endpoint == c.Status.Endpoint:
		return PathPunched
	default:
		return PathDirect
	}
}
