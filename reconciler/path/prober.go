package path

import (
	"container/heap"
	"crypto/rand"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// maxRounds is how many peers are looked for at a time. Others wait for their turn.
	maxRounds = 64
	// perSecond is how many pings are sent in a second, to all peers, and burst how many at once.
	perSecond, burst = 1000, 500
	// secretsPerStep bounds how long a step takes: each secret takes about 0.1 ms.
	secretsPerStep = 64
	// soon is the pause until more may be sent.
	soon = 10 * time.Millisecond
)

// Self is this machine.
type Self struct {
	Private mesh.PrivateKey
	Public  mesh.Key
	// NAT is the kind of NAT in front of its IPv4.
	NAT mesh.NAT
	// Endpoints are its own, as it has published them.
	Endpoints []netip.AddrPort
	// Network differs after each change of the machine's network.
	Network int
}

func (s *Self) same(other *Self) bool {
	return s.NAT == other.NAT && s.Network == other.Network && slices.Equal(s.Endpoints, other.Endpoints)
}

// Peer is a peer that answers probes.
type Peer struct {
	Key mesh.Key
	// Endpoints are those that may lead to it, the likeliest first.
	Endpoints []netip.AddrPort
	// NAT is the kind of NAT in front of it, as it has published it.
	NAT mesh.NAT
	// Up reports whether WireGuard's packets are answered.
	Up bool
	// Current is WireGuard's endpoint of it; invalid without one.
	Current netip.AddrPort
	// Relayed is set where Current is a relay's.
	Relayed bool
}

func (p *Peer) same(other *Peer) bool {
	return p.NAT == other.NAT && p.Current == other.Current && p.Relayed == other.Relayed && slices.Equal(p.Endpoints, other.Endpoints)
}

// Send is a packet that is to be sent from WireGuard's port.
type Send struct {
	To netip.AddrPort
	// TTL is how many hops it goes; 0 for the usual number.
	TTL     int
	Payload []byte
}

// Prober finds the paths to all peers. The zero value is ready.
type Prober struct {
	// NewID returns a random ID; nil for one of crypto/rand.
	NewID func() ID

	self     Self
	identity Identity
	peers    []Peer
	// pass counts the lists of peers.
	pass    int
	targets map[mesh.Key]*target
	byTag   map[Tag]*target
	queue   queue
	// unsealed are the targets whose secrets are still to be made.
	unsealed []*target
	// waiting are those that wait for a round: those with news, then the others.
	waiting [2][]*target
	rounds  int
	// tokens is how many pings may be sent, as of a time.
	tokens float64
	filled time.Time
	proven []mesh.Path
	stale  bool
}

// Step returns what is to be sent now, and when the next step is due; zero for never. A list of peers
// that is the one of the last step has the same peers: the caller makes a new list for a change. Without
// one, and with nothing due, a step takes no longer for many peers.
func (p *Prober) Step(now time.Time, self Self, peers []Peer) (send []Send, next time.Time) {
	p.fill(now)
	p.take(now, self, peers)
	p.seal(now)
	p.admit(now)
	for len(p.queue) > 0 && !p.queue[0].due.After(now) && p.tokens >= 1 {
		t := p.queue[0]
		send = p.act(send, now, t)
		p.schedule(t)
		p.admit(now)
	}
	switch {
	case len(p.unsealed) > 0:
		return send, now
	case len(p.queue) == 0:
		return send, time.Time{}
	case !p.queue[0].due.After(now):
		return send, now.Add(soon)
	default:
		return send, p.queue[0].due
	}
}

// fill adds the pings that time allows.
func (p *Prober) fill(now time.Time) {
	if p.filled.IsZero() {
		p.tokens = burst
	} else if passed := now.Sub(p.filled); passed > 0 {
		p.tokens = min(burst, p.tokens+passed.Seconds()*perSecond)
	}
	p.filled = now
}

// take takes what has changed.
func (p *Prober) take(now time.Time, self Self, peers []Peer) {
	if self.Private != p.self.Private {
		p.forget()
		p.identity, _ = NewIdentity(self.Private) // a machine without a key has no peers, as below
	}
	if p.identity.private == nil {
		peers = nil
	}
	news := p.targets != nil && !p.self.same(&self)
	p.self = self
	if p.targets == nil || !sameList(peers, p.peers) {
		p.takePeers(now, peers)
	}
	if !news {
		return
	}
	for _, t := range p.targets {
		p.list(t)
		if t.path != nil {
			t.pingAt = now // it may be another path
		}
		p.news(now, t)
		p.schedule(t)
	}
}

// sameList reports whether both are one list.
func sameList(a, b []Peer) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// forget forgets all peers.
func (p *Prober) forget() {
	p.peers, p.targets, p.byTag, p.queue, p.unsealed = nil, nil, nil, nil, nil
	p.waiting, p.rounds, p.proven, p.stale = [2][]*target{}, 0, nil, false
}

func (p *Prober) takePeers(now time.Time, peers []Peer) {
	if p.targets == nil {
		p.targets, p.byTag = map[mesh.Key]*target{}, map[Tag]*target{}
	}
	p.peers = peers
	p.pass++
	for i := range peers {
		t := p.targets[peers[i].Key]
		if t == nil {
			t = &target{peer: peers[i], index: -1}
			p.targets[t.peer.Key] = t
			p.unsealed = append(p.unsealed, t)
			p.list(t)
		} else {
			p.update(now, t, &peers[i])
		}
		t.pass = p.pass
	}
	if len(p.targets) == len(peers) {
		return
	}
	for _, t := range p.targets {
		if t.pass != p.pass {
			p.remove(t)
		}
	}
}

// update takes what has changed of a peer.
func (p *Prober) update(now time.Time, t *target, peer *Peer) {
	old := t.peer
	t.peer = *peer
	if old.Up && !peer.Up && t.path != nil && !old.Relayed && old.Current == t.path.endpoint {
		p.die(now, t)
		p.schedule(t)
	}
	if old.same(peer) {
		return
	}
	if added := p.list(t); added || old.NAT != peer.NAT {
		p.news(now, t)
	}
	p.schedule(t)
}

func (p *Prober) remove(t *target) {
	t.gone = true
	if t.active {
		p.rounds--
	}
	if t.path != nil {
		p.stale = true
	}
	if t.index >= 0 {
		heap.Remove(&p.queue, t.index)
	}
	if t.secret != nil {
		delete(p.byTag, t.secret.in)
	}
	delete(p.targets, t.peer.Key)
}

// seal makes secrets, some at a time.
func (p *Prober) seal(now time.Time) {
	some := p.unsealed[:min(len(p.unsealed), secretsPerStep)]
	for _, t := range some {
		if t.gone {
			continue
		}
		secret, err := p.identity.SecretWith(t.peer.Key)
		if err != nil {
			continue // no machine has this key, so that none answers
		}
		t.secret = secret
		p.byTag[secret.in] = t
		p.news(now, t)
		p.schedule(t)
	}
	p.unsealed = p.unsealed[len(some):]
	if len(p.unsealed) == 0 {
		p.unsealed = nil
	}
}

// Proven returns the paths that are known, by key. Its round-trip times may be a little outdated. The
// caller does not change it.
func (p *Prober) Proven() []mesh.Path {
	if !p.stale {
		return p.proven
	}
	p.stale, p.proven = false, nil
	for _, t := range p.targets {
		if t.path != nil {
			p.proven = append(p.proven, mesh.Path{Peer: t.peer.Key, Endpoint: t.path.endpoint, RTT: t.path.rtt, Punched: t.punched})
		}
	}
	slices.SortFunc(p.proven, func(a, b mesh.Path) int { return a.Peer.Compare(b.Peer) })
	return p.proven
}

func (p *Prober) newID() (id ID) {
	if p.NewID != nil {
		return p.NewID()
	}
	_, _ = rand.Read(id[:]) // never fails
	return id
}
