package peer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// BlindRelay is a relay that cannot read what it carries, and with which this machine is registered.
type BlindRelay struct {
	Key mesh.Key
	// Endpoint is where WireGuard reaches it. All peers behind it have this endpoint.
	Endpoint netip.AddrPort
	// Lost is set while it does not answer any more, and ForgotAt is when it has lost its table of flows;
	// zero for never.
	Lost     bool
	ForgotAt time.Time
}

var lostLast = map[bool]int{true: 1}

// behind returns the endpoints of the relays by which a peer may be reached: those with which it is registered
// as well. Both ends have them in the same order, and different pairs in different ones. A machine without an
// agent registers with none: it may be behind any that knows this machine. Those that do not answer come last.
func (in *Input) behind(spec *mesh.PeerSpec) (endpoints []netip.AddrPort) {
	if len(in.Registered) == 0 || len(spec.Registered) == 0 && !spec.WithoutAgent {
		return nil
	}
	first, second := in.Self, spec.PublicKey
	if second.Compare(first) < 0 {
		first, second = second, first
	}
	// Rendezvous hashing, as in mesh.PickRelay.
	rank := func(r BlindRelay) []byte {
		sum := sha256.Sum256(slices.Concat(first[:], second[:], r.Key[:]))
		return sum[:]
	}
	common := slices.DeleteFunc(slices.Clone(in.Registered), func(r BlindRelay) bool {
		return !spec.WithoutAgent && !slices.Contains(spec.Registered, r.Key)
	})
	slices.SortFunc(common, func(a, b BlindRelay) int {
		if a.Lost != b.Lost {
			return cmp.Compare(lostLast[a.Lost], lostLast[b.Lost])
		}
		return bytes.Compare(rank(b), rank(a))
	})
	for _, r := range common {
		endpoints = append(endpoints, r.Endpoint)
	}
	return endpoints
}

// relayAt returns the relay that has an endpoint at which a peer is; zero for none. Of what a member says of its
// relay, only the endpoint counts at which it has answered: it might list those of others. What a service says
// does not count against the peer's own endpoints.
func (in *Input) relayAt(spec *mesh.PeerSpec, e netip.AddrPort) mesh.Key {
	for _, r := range in.Registered {
		if e.IsValid() && r.Endpoint == e {
			return r.Key
		}
	}
	if slices.Contains(spec.Endpoints, e) {
		return mesh.Key{}
	}
	for i := range in.Relays {
		if !in.Relays[i].Member && in.Relays[i].Has(e) {
			return in.Relays[i].Key
		}
	}
	return mesh.Key{}
}

// leavesRelay reports whether the peer's endpoint was that of a relay until now, and is no more, such as
// since relays are not to be used. It is to be left once: as long as the other end sends by the relay,
// WireGuard follows it back, and the relay is what carries the packets.
func (c *Connection) leavesRelay(in *Input, spec *mesh.PeerSpec) bool {
	at := c.Status.Endpoint
	if c.BlindRelay.IsZero() || !at.IsValid() || at == c.shuns().former.at || !in.relayAt(spec, at).IsZero() {
		return false
	}
	s := c.shuns()
	s.former = formerRelay{c.BlindRelay, at}
	c.shun(s)
	return true
}

// IsBlind reports whether a relay that cannot read it carries the peer's traffic.
func (c *Connection) IsBlind() bool { return c.IsUp() && !c.BlindRelay.IsZero() }

// candidates returns the endpoints of a peer in the order in which they are tried. Where probes look for
// a direct path, the peer is reached by a relay meanwhile: endpoints that do not answer would keep it
// waiting, and an initiation to them might spoil a NAT's mapping. The first ones, ready of them, are then
// known to carry packets.
func (in *Input) candidates(lastGood netip.AddrPort, spec *mesh.PeerSpec, path mesh.Path) (all []netip.AddrPort, ready int) {
	listed, relays := in.ranked(lastGood, spec), in.behind(spec)
	if path.Endpoint.IsValid() {
		relays = append([]netip.AddrPort{path.Endpoint}, relays...)
	}
	switch {
	case len(relays) == 0:
		return listed, 0
	case in.Probing && spec.Probes:
		return append(relays, listed...), len(relays)
	default:
		return append(slices.Clip(listed), relays...), 0
	}
}

const (
	// maxGuesses is how many machines without an agent that do not answer are tried at relays by turns, each
	// for guessFor. A relay may not know where they are, and looks among all keys for the receiver of each
	// initiation, of which there is one in 5 s; it does so 20 times a second (relay.Limits.ScansPerSecond).
	maxGuesses = 32
	guessFor   = 2 * time.Minute
)

// guesses says whose turn it is.
type guesses struct {
	// turns is how many there are, and turn the present one. Next is the place of the next machine.
	turns, turn, next int
}

// newGuesses returns the turns at some time, with some machines that wait for theirs.
func newGuesses(now time.Time, waiting int) guesses {
	turns := max(1, (waiting+maxGuesses-1)/maxGuesses)
	return guesses{turns: turns, turn: int(now.Unix()/int64(guessFor/time.Second)) % turns}
}

// guessed returns 1 for a machine that waits for its turn, else 0.
func (c *Connection) guessed() int {
	if c.withoutAgent && !c.IsUp() {
		return 1
	}
	return 0
}

// take returns whether it is the next machine's turn.
func (g *guesses) take() bool {
	turn := g.next / maxGuesses % g.turns
	g.next++
	return turn == g.turn
}

// ranked returns the endpoints of a peer that are not relays', in the order in which they are tried.
func (in *Input) ranked(lastGood netip.AddrPort, spec *mesh.PeerSpec) []netip.AddrPort {
	isOfRelay := func(e netip.AddrPort) bool { return in.isOfRelay(spec, e) }
	if isOfRelay(lastGood) {
		lastGood = netip.AddrPort{}
	}
	ranked := mesh.Rank(in.Links, lastGood, spec)
	if !slices.ContainsFunc(ranked, isOfRelay) {
		return ranked
	}
	return slices.DeleteFunc(slices.Clone(ranked), isOfRelay)
}

// isOfRelay reports whether an endpoint is that of a relay: the peer has named it as such, or this machine is
// registered there. What a service alone says of its relay does not keep an endpoint of a peer from use.
func (in *Input) isOfRelay(spec *mesh.PeerSpec, e netip.AddrPort) bool {
	return slices.Contains(spec.RelayEndpoints, e) ||
		slices.ContainsFunc(in.Registered, func(r BlindRelay) bool { return e.IsValid() && r.Endpoint == e })
}

// pathTo returns the direct path to a peer; its endpoint is not valid for none.
func (in *Input) pathTo(key mesh.Key) (path mesh.Path) {
	i, found := slices.BinarySearchFunc(in.Paths, key, func(p mesh.Path, k mesh.Key) int { return p.Peer.Compare(k) })
	if found {
		path = in.Paths[i]
	}
	return path
}

// follow moves a peer that is up to the direct path that probes have found, and back to a relay once it
// is lost. The session stays, so that nothing is lost. Until the other end has moved too, WireGuard
// follows its packets back; the next pass moves the peer again.
func (c *Connection) follow(now time.Time, in *Input, spec *mesh.PeerSpec) {
	path, before := c.pathIn(now, in), c.path()
	if path.Endpoint.IsValid() && path != before {
		found := path // it alone is allocated
		c.Path = &found
	}
	if !c.IsUp() || c.Action.Endpoint.IsValid() {
		return
	}
	current := c.Status.Endpoint
	relay := in.relayAt(spec, current)
	wasThere := current.IsValid() && current == before.Endpoint
	switch {
	case path.Endpoint == current:
	case path.Endpoint.IsValid():
		if !relay.IsZero() || wasThere || !slices.Contains(spec.Endpoints, current) {
			c.move(now, path.Endpoint)
		}
	case wasThere:
		c.leavePath(now, in, spec)
	case !relay.IsZero():
		c.moveWith(now, in, spec, relay)
	}
}

// leavePath has WireGuard send by a relay, if there is one. Where nobody looks for paths any more, an
// endpoint that the peer publishes stays in use: it was not found lost.
func (c *Connection) leavePath(now time.Time, in *Input, spec *mesh.PeerSpec) {
	if !in.Probing && slices.Contains(spec.Endpoints, c.Status.Endpoint) {
		c.Path = nil
		return
	}
	if relays := in.behind(spec); len(relays) > 0 {
		c.move(now, relays[0])
		c.Path = nil
	}
}

// moveWith has WireGuard send to where a relay is reached now, such as over TCP, or to another if it does
// not answer any more.
func (c *Connection) moveWith(now time.Time, in *Input, spec *mesh.PeerSpec, relay mesh.Key) {
	r := in.registered(relay)
	switch {
	case r == nil:
	case r.Lost:
		others := in.behind(spec)
		if len(others) == 0 {
			return
		}
		if other := in.registered(in.relayAt(spec, others[0])); other != nil && !other.Lost {
			c.move(now, other.Endpoint)
		}
	case r.Endpoint != c.Status.Endpoint:
		c.move(now, r.Endpoint)
	}
}

// registered returns what is known of a relay with which the machine is registered; nil for another.
func (in *Input) registered(relay mesh.Key) *BlindRelay {
	for i := range in.Registered {
		if in.Registered[i].Key == relay {
			return &in.Registered[i]
		}
	}
	return nil
}

// What is between two uses of a path that was barred: it doubles.
const firstBar, lastBar = 5 * time.Minute, time.Hour

// bar keeps a path out of use on which the peer went down, although probes may pass it.
func (c *Connection) bar(now time.Time, at netip.AddrPort) {
	s := c.shuns()
	if at != s.barred {
		s.bars = 0
	}
	s.barred, s.barredUntil = at, InstantOf(now.Add(min(firstBar<<min(s.bars, 10), lastBar)))
	s.bars++
	c.shun(s)
}

// pathIn returns the direct path to the peer that may be used; its endpoint is not valid for none. What
// probes do not pass any more is no longer barred: what they find later is another path.
func (c *Connection) pathIn(now time.Time, in *Input) mesh.Path {
	path := in.pathTo(c.Key)
	if c.shunned == nil {
		return path
	}
	s := *c.shunned
	if path.Endpoint != s.barred {
		s.barredUntil = 0
		c.shun(s)
	}
	if path.Endpoint == s.barred && now.Before(s.barredUntil.Time()) {
		return mesh.Path{}
	}
	return path
}

// move has WireGuard send elsewhere. It is no trial: the new endpoint is known to work.
func (c *Connection) move(now time.Time, to netip.AddrPort) {
	c.Action.Endpoint = to
	c.Status.Endpoint, c.Status.EndpointSince, c.Status.LastUsedEndpoint = to, InstantOf(now), to
}
