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
	// maxRounds is how many peers are looked for at a time; others wait for their turn. With 3
	// endpoints each, it is 1,500 packets a second, 1.3 Mbit/s. 5,000 peers without a path need 90.
	maxRounds = 128
	// secretsPerStep bounds how long a step takes: each secret takes about 0.1 ms.
	secretsPerStep = 64
)

// Self is this machine.
type Self struct {
	Private mesh.PrivateKey
	Public  mesh.Key
	// NAT is the kind of NAT in front of its IPv4.
	NAT mesh.NAT
	// Heard is set where a server has answered over UDP.
	Heard bool
	// Endpoints are its own addresses with WireGuard's port, without those that NATs give it: another
	// machine behind the same NAT may have published the same.
	Endpoints []netip.AddrPort
	// Network differs after each change of the machine's network.
	Network int
	// Returns counts how often UDP has worked again after it had not.
	Returns int
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

// Prober finds the paths to all peers. The zero value is ready. It is for one goroutine.
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
	// rounds counts those under way, and waiting are the targets that wait for one.
	rounds  int
	waiting []*target
	// proven is what Proven returns, unless it is stale.
	proven []mesh.Path
	stale  bool
}

// Step returns what is to be sent now, and when the next step is due; zero for never. A list of peers
// that is the one of the last step has the same peers: the caller makes a new list for a change. Without
// one, a step takes as long as what is due, and no longer for many peers. Times are those of time.Now, and
// do not go back.
func (p *Prober) Step(now time.Time, self Self, peers []Peer) (send []Send, next time.Time) {
	p.take(now, self, peers)
	p.seal(now)
	for p.admit(now); len(p.queue) > 0 && !p.queue[0].due.After(now); p.admit(now) {
		t := p.queue[0]
		send = p.act(send, now, t)
		p.schedule(t)
	}
	switch {
	case len(p.unsealed) > 0:
		return send, now
	case len(p.queue) == 0:
		return send, time.Time{}
	default:
		return send, p.queue[0].due
	}
}

// take takes what has changed.
func (p *Prober) take(now time.Time, self Self, peers []Peer) {
	if self.Private != p.self.Private {
		*p = Prober{NewID: p.NewID}
		p.identity, _ = NewIdentity(self.Private) // a machine without a key has no peers, as below
	}
	if p.identity.private == nil {
		peers = nil
	}
	moved := p.targets != nil && !p.self.same(&self)
	returned := p.targets != nil && p.self.Returns != self.Returns
	p.self = self
	if p.targets == nil || !sameList(peers, p.peers) {
		p.takePeers(now, peers)
	}
	if !moved {
		if returned {
			p.lookAgain(now)
		}
		return
	}
	for i := range peers {
		t := p.targets[peers[i].Key]
		p.list(t)
		if t.secret != nil {
			t.doubt(now, time.Duration(t.secret.phase%uint64(suspectInterval))) // not all at once
		}
		p.news(now, t)
		p.schedule(t)
	}
}

// lookAgain begins a round for each peer without a path: UDP works again.
func (p *Prober) lookAgain(now time.Time) {
	for i := range p.peers {
		if t := p.targets[p.peers[i].Key]; t.path == nil {
			p.news(now, t)
			p.schedule(t)
		}
	}
}

// sameList reports whether both are one list.
func sameList(a, b []Peer) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

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
	failed := old.Up && !peer.Up && !old.Relayed && t.path != nil && unmap(old.Current) == t.path.endpoint
	if failed {
		t.doubt(now, 0)
	}
	if !old.same(peer) {
		if added := p.list(t); added || old.NAT != peer.NAT {
			t.doubt(now, 0)
			p.news(now, t)
		}
	} else if !failed {
		return
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
	if p.unsealed = p.unsealed[len(some):]; len(p.unsealed) == 0 {
		p.unsealed = nil
	}
}

// admit begins rounds that have waited.
func (p *Prober) admit(now time.Time) {
	for p.rounds < maxRounds && len(p.waiting) > 0 {
		t := p.waiting[0]
		p.waiting = p.waiting[1:]
		t.waiting = false
		if !t.gone {
			p.begin(now, t)
			p.schedule(t)
		}
	}
	if len(p.waiting) == 0 {
		p.waiting = nil
	}
}

// Proven returns the paths that are known, by key. It is the same list until a path changes. The caller does not change it.
func (p *Prober) Proven() []mesh.Path {
	if !p.stale {
		return p.proven
	}
	p.stale, p.proven = false, nil
	for _, t := range p.targets {
		if t.path != nil {
			p.proven = append(p.proven, p.pathOf(t))
		}
	}
	slices.SortFunc(p.proven, func(a, b mesh.Path) int { return a.Peer.Compare(b.Peer) })
	return p.proven
}

// pathOf returns the path in use; there is one.
func (p *Prober) pathOf(t *target) mesh.Path {
	return mesh.Path{Peer: t.peer.Key, Endpoint: t.path.endpoint, Punched: p.punched(t)}
}

func (p *Prober) newID() (id ID) {
	if p.NewID != nil {
		return p.NewID()
	}
	_, _ = rand.Read(id[:]) // never fails
	return id
}
