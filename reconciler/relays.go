package reconciler

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// relaySilence is how long a blind relay may be silent before a new handshake is made with it: it
	// answers each keepalive (state.RelayKeepalive).
	relaySilence = 2*state.RelayKeepalive + 2*time.Second
	// firstSilence is that of a relay that has not answered so far. WireGuard repeats an initiation after
	// 5 s (WireGuard paper, section 6.4).
	firstSilence = 7 * time.Second
	// relayGone is how long it may be silent before this machine counts as not registered with it.
	relayGone = 4*state.RelayKeepalive + 5*time.Second
	// nudgeEvery is how often a relay's nudge makes a new handshake.
	nudgeEvery = time.Second
)

// relayWatch is what is known of the connection to a blind relay.
type relayWatch struct {
	// received is WireGuard's counter when it last grew, at heardAt, by what came from heardFrom.
	received  int64
	heardAt   time.Time
	heardFrom netip.AddrPort
	// setAt is when its peer or its endpoint was last set.
	setAt time.Time
	// tried counts the endpoints that were tried, and backToTCP how often UDP was tried in vain.
	tried, backToTCP int
}

// udpPause is the first pause after which a relay that is reached over TCP is tried by UDP again, where
// servers of STUN answer; it doubles up to maxUDPPause.
const udpPause, maxUDPPause = 30 * time.Second, 10 * time.Minute

// withTunnels returns the relays with their endpoints on loopback.
func (e *Engine) withTunnels(relays []mesh.BlindRelay) []mesh.BlindRelay {
	relays = slices.Clone(relays)
	for i := range relays {
		relays[i].Local = e.tunnels[relays[i].Key]
	}
	return relays
}

// stepRelays moves the connections to the blind relays on, from what WireGuard shows.
func (e *Engine) stepRelays(p *Pass, now time.Time, live []state.Peer) {
	e.offerTries = e.addOffers(p, now, live)
	p.relays = e.withTunnels(p.relays)
	watches := make(map[mesh.Key]relayWatch, len(p.relays))
	for i := range p.relays {
		r := &p.relays[i]
		w := e.relays[r.Key]
		found, has := slices.BinarySearchFunc(live, r.Key, func(x state.Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
		if !has {
			// What carries packets goes on meanwhile.
			w.setAt, w.received = now, 0
			p.register(w.registered(now, r))
			p.relayPeers = append(p.relayPeers, state.RelayPeer{Relay: r, Endpoint: w.endpoint(r)})
			watches[r.Key] = w
			continue
		}
		next := w.step(now, r, &live[found], p.outside.IPv4.Address.IsValid() || p.outside.IPv6.Address.IsValid())
		if w.mayNudge(now) && e.nudged[live[found].Endpoint] {
			next = nil
		}
		p.register(w.registered(now, r))
		if next != nil {
			p.relayPeers = append(p.relayPeers, *next)
		}
		watches[r.Key] = w
	}
	p.relaysMoved = !sameRelayPeers(e.relayPeers, p.relayPeers)
	if len(p.relays) > 0 {
		p.NextCheck = min(p.NextCheck, peer.RestInterval)
	}
	e.relays, e.relayPeers, e.nudged = watches, p.relayPeers, nil
}

// register notes that the machine is registered with a relay, if it has an endpoint.
func (p *Pass) register(r peer.BlindRelay) {
	if r.Endpoint.IsValid() {
		p.registered = append(p.registered, r)
	}
	if r.Endpoint.IsValid() && len(p.Local.KubeSpan.Registered) < mesh.MaxRegistered {
		p.Local.KubeSpan.Registered = append(p.Local.KubeSpan.Registered, r.Key)
	}
}

// registered returns the machine's registration with a relay. It has no endpoint unless the relay has
// been heard of late.
func (w *relayWatch) registered(now time.Time, r *mesh.BlindRelay) peer.BlindRelay {
	if w.heardAt.IsZero() || now.Sub(w.heardAt) >= relayGone || !r.Has(w.heardFrom) {
		return peer.BlindRelay{}
	}
	return peer.BlindRelay{Key: r.Key, Endpoint: w.heardFrom}
}

// mayNudge reports whether a nudge of the relay makes a new handshake now.
func (w *relayWatch) mayNudge(now time.Time) bool { return now.Sub(w.setAt) >= nudgeEvery }

// step returns WireGuard's peer for a relay; nil to remove it, so that the next pass makes a new
// handshake. UDP is set where servers answer by UDP.
func (w *relayWatch) step(now time.Time, r *mesh.BlindRelay, live *state.Peer, udp bool) (next *state.RelayPeer) {
	w.hear(now, live)
	next = &state.RelayPeer{Relay: r, Endpoint: live.Endpoint}
	switch silent := w.silent(now); {
	case !r.Has(live.Endpoint):
		next.Endpoint, next.Redirect, w.setAt = r.Endpoints[0], true, now
	case silent && !live.LastHandshake.IsZero():
		return nil
	case silent && (len(r.Endpoints) > 1 || r.Local.IsValid()):
		w.tried++
		next.Endpoint, next.Redirect, w.setAt = w.endpoint(r), true, now
	case live.Endpoint == r.Local && udp && now.Sub(w.setAt) >= min(udpPause<<min(w.backToTCP, 10), maxUDPPause):
		w.tried, w.backToTCP = 0, w.backToTCP+1
		next.Endpoint, next.Redirect, w.setAt = w.endpoint(r), true, now
	case live.Endpoint != r.Local && now.Sub(w.setAt) >= maxUDPPause:
		w.backToTCP = 0
	}
	return next
}

// hear takes what WireGuard shows of the relay.
func (w *relayWatch) hear(now time.Time, live *state.Peer) {
	ofEarlierProcess := w.setAt.IsZero()
	if live.ReceiveBytes != w.received && live.ReceiveBytes > 0 || ofEarlierProcess && now.Sub(live.LastHandshake) < relayGone {
		w.received, w.heardAt, w.heardFrom = live.ReceiveBytes, now, live.Endpoint
	}
	if ofEarlierProcess {
		w.setAt = now
	}
}

// silent reports whether the relay has not answered for too long. One that never has is given as long as
// WireGuard needs for a second initiation.
func (w *relayWatch) silent(now time.Time) bool {
	if w.heardAt.IsZero() {
		return now.Sub(w.setAt) >= firstSilence
	}
	since := w.setAt
	if w.heardAt.After(since) {
		since = w.heardAt
	}
	return now.Sub(since) >= relaySilence
}

// endpoint returns the endpoint that is to be tried: those of UDP in turn, and after them that on loopback.
func (w *relayWatch) endpoint(r *mesh.BlindRelay) netip.AddrPort {
	n := len(r.Endpoints)
	if r.Local.IsValid() {
		n++
	}
	if i := w.tried % n; i < len(r.Endpoints) {
		return r.Endpoints[i]
	}
	return r.Local
}

// planRelays is stepRelays for a plan that nobody carries out: a handshake or another endpoint that is
// due is no difference.
func (e *Engine) planRelays(p *Pass, now time.Time, live []state.Peer) {
	e.addOffers(p, now, live)
	for i := range p.relays {
		p.relayPeers = append(p.relayPeers, state.RelayPeer{Relay: &p.relays[i], Endpoint: p.relays[i].Endpoints[0]})
	}
}

func sameRelayPeers(a, b []state.RelayPeer) bool {
	return slices.EqualFunc(a, b, func(x, y state.RelayPeer) bool {
		return x.Relay.Key == y.Relay.Key && x.Endpoint == y.Endpoint
	})
}

// shiftRelays moves all times after the machine's clock was stepped by some time.
func (e *Engine) shiftRelays(by time.Duration) {
	for k, w := range e.relays {
		for _, t := range []*time.Time{&w.heardAt, &w.setAt} {
			if !t.IsZero() {
				*t = t.Add(by)
			}
		}
		e.relays[k] = w
	}
	e.offerTries.shift(by)
}

// usableRelays returns the relays that are none of the machines, whose keys a service might give, and
// have an endpoint.
func usableRelays(self mesh.Key, relays []mesh.BlindRelay, specs []mesh.PeerSpec) (usable []mesh.BlindRelay) {
	for _, r := range relays {
		_, isPeer := slices.BinarySearchFunc(specs, r.Key, func(s mesh.PeerSpec, k mesh.Key) int { return s.PublicKey.Compare(k) })
		r.Endpoints = slices.DeleteFunc(slices.Clone(r.Endpoints), func(e netip.AddrPort) bool { return !e.IsValid() || e.Port() == 0 })
		if !isPeer && r.Key != self && !r.Key.IsZero() && len(r.Endpoints) > 0 {
			usable = append(usable, r)
		}
	}
	return usable
}

// relay returns the name of a blind relay.
func (g *gathered) relay(key mesh.Key) string {
	for _, r := range g.relays {
		if r.Key == key {
			return r.Name
		}
	}
	return key.String()
}
