package reconciler

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/peer"
)

// Direct are the direct paths to peers, as probes beside WireGuard's packets have shown them. The zero
// value is that of a machine that does not look for any.
type Direct struct {
	// On is set while the machine answers probes, which it then publishes.
	On bool
	// Off is why it looks for none; empty if that is not known.
	Off path.Reason
	// Paths are those that work, sorted by peer. The list is not to be changed.
	Paths []mesh.Path
	// Why says why there is none to a peer, in words that complete "no direct path: ...". The map is not
	// to be changed.
	Why map[mesh.Key]string
	// Relays are what checks of the blind relays have shown. The list is not to be changed.
	Relays []path.RelayState
}

// relay returns what checks have shown of a relay where WireGuard reaches it.
func (d *Direct) relay(key mesh.Key, at netip.AddrPort) (s path.RelayState) {
	for _, r := range d.Relays {
		if r.Key == key {
			s = r
		}
	}
	if s.At != at {
		s.Lost, s.Missed, s.Unregistered = false, 0, 0
	}
	return s
}

// SetDirect sets the direct paths to peers, and asks for a pass that uses them. It does not block.
func (l *Loop) SetDirect(d Direct) {
	l.direct.Store(&d)
	l.Wake(PathsChanged)
}

// SetTunnels sets the endpoints on loopback by which WireGuard reaches blind relays over TCP, and asks
// for a pass that knows them. It does not block.
func (l *Loop) SetTunnels(endpoints map[mesh.Key]netip.AddrPort) {
	l.tunnels.Store(&endpoints)
	l.Wake(PathsChanged)
}

// RestoreTunnels is Loop.SetTunnels for what an earlier process has left.
func (e *Engine) RestoreTunnels(endpoints map[mesh.Key]netip.AddrPort) { e.tunnels = endpoints }

// Nudged tells that a relay at an endpoint does not know this machine any more, and asks for a handshake.
// It does not block. The caller bounds how many there are.
func (l *Loop) Nudged(from netip.AddrPort) {
	l.nudged.add(from)
	l.Wake(PathsChanged)
}

// nudges is a set of the endpoints that nudges came from. It is safe for concurrent use.
type nudges struct {
	mu   sync.Mutex
	from map[netip.AddrPort]bool
}

func (n *nudges) add(from netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.from == nil {
		n.from = map[netip.AddrPort]bool{}
	}
	n.from[from] = true
}

// take returns the set, and empties it.
func (n *nudges) take() map[netip.AddrPort]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	from := n.from
	n.from = nil
	return from
}

// Probing is what paths are looked for with.
type Probing struct {
	Self path.Self
	// Peers are those that answer probes, by key. It is another list when something has changed.
	Peers []path.Peer
	// Relays are the blind relays that are checked. It is another list when something has changed.
	Relays []path.Relay
}

// probe sets what paths are looked for with.
func (e *Engine) probe(p *Pass, networkChanges int) {
	peers := e.probing.Peers
	if p.allStepped || !isSame(e.probed, p.specs) || !p.probesSame(peers) {
		peers = p.probedPeers(peers)
	}
	e.probed = p.specs
	self := path.Self{Private: p.identity.PrivateKey, Public: p.identity.PublicKey, NAT: p.outside.IPv4.Kind,
		Network: networkChanges, Returns: e.returns,
		Heard: p.outside.IPv4.Address.IsValid() || p.outside.IPv6.Address.IsValid()}
	// Not what NATs give: two machines behind one may have the same outside.
	for _, a := range p.host.Own {
		self.Endpoints = append(self.Endpoints, netip.AddrPortFrom(a, uint16(p.desired.Link.ListenPort)))
	}
	e.probing = Probing{Peers: peers, Self: self, Relays: p.checkedRelays(e.probing.Relays, e.relays)}
}

// probedPeer returns a peer to which paths are looked for.
func probedPeer(spec *mesh.PeerSpec, c *peer.Connection) path.Peer {
	return path.Peer{Key: c.Key, Endpoints: spec.Endpoints, NAT: spec.NAT, Up: c.IsUp(), Current: c.Status.Endpoint,
		Relayed: !c.BlindRelay.IsZero() || slices.Contains(spec.RelayEndpoints, c.Status.Endpoint)}
}

// probedPeers returns those to which paths are looked for; the list of before if nothing has changed.
func (p *Pass) probedPeers(before []path.Peer) []path.Peer {
	peers := make([]path.Peer, 0, len(before))
	for i := range p.peers {
		if p.specs[i].Probes {
			peers = append(peers, probedPeer(&p.specs[i], &p.peers[i]))
		}
	}
	if slices.EqualFunc(peers, before, sameProbed) {
		return before
	}
	return peers
}

// probesSame reports whether before has the peers that were stepped as they are, of specs that are the same.
func (p *Pass) probesSame(before []path.Peer) bool {
	return !slices.ContainsFunc(p.stepped, func(i int) bool {
		at, found := slices.BinarySearchFunc(before, p.peers[i].Key, func(x path.Peer, k mesh.Key) int { return x.Key.Compare(k) })
		return found != p.specs[i].Probes || found && !sameProbed(probedPeer(&p.specs[i], &p.peers[i]), before[at])
	})
}

func sameProbed(a, b path.Peer) bool {
	return a.Key == b.Key && a.NAT == b.NAT && a.Up == b.Up && a.Current == b.Current && a.Relayed == b.Relayed && slices.Equal(a.Endpoints, b.Endpoints)
}

// checkedRelays returns the relays that are to be checked; the list of before if nothing has changed.
func (p *Pass) checkedRelays(before []path.Relay, watches map[mesh.Key]relayWatch) []path.Relay {
	relays := make([]path.Relay, 0, len(p.relays))
	for i := range p.relays {
		r := &p.relays[i]
		relay := path.Relay{Key: r.Key, At: watches[r.Key].at}
		if r.Local.IsValid() && relay.At == r.Local {
			relay.Away = r.Endpoints
		}
		relay.Used = slices.ContainsFunc(p.stepped, func(i int) bool { return p.peers[i].BlindRelay == relay.Key })
		relays = append(relays, relay)
	}
	if slices.EqualFunc(relays, before, func(a, b path.Relay) bool {
		return a.Key == b.Key && a.At == b.At && a.Used == b.Used && slices.Equal(a.Away, b.Away)
	}) {
		return before
	}
	return relays
}

// publishPaths publishes what peers need to find a path to the machine.
func (p *Pass) publishPaths(d Direct) {
	if d.On {
		p.Local.KubeSpan.Probes, p.Local.KubeSpan.NAT = true, p.outside.IPv4.Kind
	}
}
