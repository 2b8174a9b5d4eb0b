package reconciler

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
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
	// nudgeEvery is how often a relay's nudge, or the answer that it does not know the machine, makes a new
	// handshake. The pause doubles up to maxRefused times, as both may be forged, until there was none for
	// refusedRest: longer than the longest pause.
	nudgeEvery  = time.Second
	maxRefused  = 5
	refusedRest = nudgeEvery << (maxRefused + 1)
	// quietFor is how long nothing may come through a relay that does not answer checks, until it counts as
	// lost. It is less than what is between two missed checks and the verdict (path.RelayState.Missed).
	quietFor = time.Second
)

// relayWatch is what is known of the connection to a blind relay.
type relayWatch struct {
	// received is WireGuard's counter when it last grew, at heardAt, by what came from heardFrom.
	received  int64
	heardAt   time.Time
	heardFrom netip.AddrPort
	// madeAt is when its peer was made; zero for one that an earlier process has made. answered is set once
	// a handshake was completed with that peer.
	madeAt   time.Time
	answered bool
	// at is where WireGuard reaches it.
	at netip.AddrPort
	// setAt is when its peer or its endpoint was last set.
	setAt time.Time
	// tried is the number of endpoints that were tried, and backToTCP how often UDP was left for TCP after
	// it had been found to work.
	tried, backToTCP int
	// lost is the path.RelayState.Lost that was reported last. forgotIn is the last path.RelayState.ForgotAt,
	// and forgotAt the same by a clock that may have been stepped since.
	lost bool
	// reached is how the machine was last registered with it.
	reached            relayWay
	forgotIn, forgotAt time.Time
	// carried is what WireGuard has received from the relay and the peers behind it, and quietSince is when
	// that was last seen to have grown.
	carried    int64
	quietSince time.Time
	// unregistered is the last path.RelayState.Unregistered that a handshake was made for, and refused how
	// many were made in a row for that or for nudges.
	unregistered, refused int
	// overTCP is when the relay was last to be reached over TCP.
	overTCP time.Time
}

const (
	// udpPause is the first pause after which a relay that was left for TCP again is tried by UDP once
	// more, if it answers there; it doubles up to maxUDPPause.
	udpPause, maxUDPPause = 30 * time.Second, 10 * time.Minute
	// keepTunnel is how long the way over TCP is kept that is not used any more: until all peers have
	// moved, and for a network that changes back.
	keepTunnel = 2 * time.Minute
)

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
	p.relays, e.overTCP = e.withTunnels(p.relays), nil
	watches := make(map[mesh.Key]relayWatch, len(p.relays))
	for i := range p.relays {
		r := &p.relays[i]
		w := e.relays[r.Key]
		checked := e.direct.relay(r.Key, netip.AddrPort{})
		found, has := slices.BinarySearchFunc(live, r.Key, func(x state.Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
		if !has {
			// What carries packets goes on meanwhile.
			w.at = w.endpoint(r)
			w.make(now)
			p.register(w.registered(now, r, checked))
			p.relayPeers = append(p.relayPeers, state.RelayPeer{Relay: r, Endpoint: w.endpoint(r)})
			watches[r.Key] = w
			e.noteOverTCP(now, r, &w)
			continue
		}
		checked = e.direct.relay(r.Key, live[found].Endpoint)
		if quiet := w.isQuiet(now, carriedBy(live, live[found].Endpoint)); checked.Lost && !quiet {
			checked.Lost, p.NextCheck = false, min(p.NextCheck, quietFor)
		}
		next := w.step(now, r, &live[found], checked)
		e.reportRelay(now, r, &w, checked)
		if e.nudged[live[found].Endpoint] && w.mayRefuse(now) {
			w.refused++
			w.renew(now, &next)
		}
		at := w.registered(now, r, checked)
		p.register(at)
		e.recordRelay(now, r, &w, at)
		w.at = next.Endpoint
		p.relayPeers, p.relaysMoved = append(p.relayPeers, next), p.relaysMoved || next.Renew
		watches[r.Key] = w
		e.noteOverTCP(now, r, &w)
	}
	p.relaysMoved = p.relaysMoved || !sameRelayPeers(e.relayPeers, p.relayPeers)
	if len(p.relays) > 0 {
		p.NextCheck = min(p.NextCheck, peer.RestInterval)
	}
	e.relays, e.relayPeers, e.nudged = watches, p.relayPeers, nil
}

// noteOverTCP notes a relay that is to be reached over TCP.
func (e *Engine) noteOverTCP(now time.Time, r *mesh.BlindRelay, w *relayWatch) {
	if r.URL != "" && !w.overTCP.IsZero() && now.Sub(w.overTCP) < keepTunnel {
		e.overTCP = append(e.overTCP, *r)
	}
}

// reportRelay logs what checks have newly shown of a relay.
func (e *Engine) reportRelay(now time.Time, r *mesh.BlindRelay, w *relayWatch, checked path.RelayState) {
	log := e.log.With("relay", r.Name)
	switch {
	case checked.Lost && !w.lost:
		log.Warn("blind relay lost", "endpoint", checked.At.String())
		w.lost = true
	case w.lost && !checked.Lost && w.heardAt.Equal(now):
		log.Info("blind relay answers again", "endpoint", w.heardFrom.String())
		w.lost = false
	}
	if !checked.ForgotAt.Equal(w.forgotIn) {
		log.Info("blind relay has lost its table; sessions through it begin anew")
		w.forgotIn, w.forgotAt = checked.ForgotAt, checked.ForgotAt.Round(0)
	}
}

// register notes that the machine is registered with a relay, if it has an endpoint.
func (p *Pass) register(r peer.BlindRelay) {
	if !r.Endpoint.IsValid() {
		return
	}
	p.registered = append(p.registered, r)
	if k := &p.Local.KubeSpan; len(k.Registered) < mesh.MaxRegistered {
		k.Registered = append(k.Registered, r.Key)
	}
}

// registered returns the machine's registration with a relay. It has no endpoint unless the relay has
// been heard of late.
func (w *relayWatch) registered(now time.Time, r *mesh.BlindRelay, checked path.RelayState) peer.BlindRelay {
	if w.heardAt.IsZero() || now.Sub(w.heardAt) >= relayGone || !r.Has(w.heardFrom) {
		return peer.BlindRelay{}
	}
	return peer.BlindRelay{Key: r.Key, Endpoint: w.heardFrom, Lost: checked.Lost, ForgotAt: w.forgotAt}
}

// mayRefuse reports whether what says that the relay does not know the machine makes a new handshake now.
func (w *relayWatch) mayRefuse(now time.Time) bool {
	return now.Sub(w.setAt) >= nudgeEvery<<min(w.refused, maxRefused)
}

// carriedBy returns what WireGuard has received from a relay and the peers behind it, which have its endpoint.
func carriedBy(live []state.Peer, at netip.AddrPort) (bytes int64) {
	for i := range live {
		if live[i].Endpoint == at {
			bytes += live[i].ReceiveBytes
		}
	}
	return bytes
}

// isQuiet takes what was received through the relay, and reports whether there was nothing of late.
func (w *relayWatch) isQuiet(now time.Time, carried int64) bool {
	if carried > w.carried {
		w.quietSince = now
	}
	w.carried = carried
	return now.Sub(w.quietSince) >= quietFor
}

// step returns WireGuard's peer for a relay. Checked is what checks have shown of it.
func (w *relayWatch) step(now time.Time, r *mesh.BlindRelay, live *state.Peer, checked path.RelayState) (next state.RelayPeer) {
	w.hear(now, r, live)
	if now.Sub(w.setAt) >= refusedRest {
		w.refused = 0
	}
	next = state.RelayPeer{Relay: r, Endpoint: live.Endpoint}
	switch {
	case !w.isOwn(live):
		w.renew(now, &next)
		w.redirect(now, &next, w.endpoint(r))
	case !r.Has(live.Endpoint):
		w.redirect(now, &next, w.endpoint(r))
	case checked.Unregistered != w.unregistered && w.mayRefuse(now):
		if w.unregistered = checked.Unregistered; w.unregistered > 0 {
			w.refused++
			w.renew(now, &next)
		}
	case w.silent(now) || checked.Lost && now.Sub(w.setAt) >= firstSilence:
		w.tryOther(now, r, live, &next)
	default:
		w.tryBetter(now, r, live, checked, &next)
	}
	if next.Endpoint == r.Local || w.triesTCP(r) {
		w.overTCP = now
	}
	return next
}

// tryOther has a relay that is silent make a new handshake, or tries another way to it.
func (w *relayWatch) tryOther(now time.Time, r *mesh.BlindRelay, live *state.Peer, next *state.RelayPeer) {
	switch {
	case !live.LastHandshake.IsZero():
		w.renew(now, next)
	case w.ways(r) > 1:
		w.tried++
		w.redirect(now, next, w.endpoint(r))
	}
}

// tryBetter uses a tunnel that is there now, and UDP where the relay answers by it again.
func (w *relayWatch) tryBetter(now time.Time, r *mesh.BlindRelay, live *state.Peer, checked path.RelayState, next *state.RelayPeer) {
	switch overTCP := live.Endpoint == r.Local; {
	case !overTCP && w.triesTCP(r) && r.Local.IsValid() && w.heardAt.Before(w.setAt):
		w.redirect(now, next, r.Local)
	case overTCP && checked.Answers.IsValid() && now.Sub(w.setAt) >= w.udpPause():
		w.tried, w.backToTCP = max(0, slices.Index(r.Endpoints, checked.Answers)), w.backToTCP+1
		w.redirect(now, next, checked.Answers)
	case !overTCP && now.Sub(w.setAt) >= maxUDPPause:
		w.backToTCP = 0
	}
}

// renew has WireGuard make a new handshake at once.
func (w *relayWatch) renew(now time.Time, next *state.RelayPeer) {
	next.Renew = true
	w.make(now)
}

// make notes that the relay's peer is made now.
func (w *relayWatch) make(now time.Time) {
	w.setAt, w.madeAt, w.received, w.answered = now, now, 0, false
}

// isOwn reports whether WireGuard's peer was made for the relay, and not for a machine with its key.
func (w *relayWatch) isOwn(live *state.Peer) bool {
	return !live.IsMachine() && (!w.setAt.IsZero() || live.Keepalive == state.RelayKeepalive)
}

// redirect has WireGuard send elsewhere.
func (w *relayWatch) redirect(now time.Time, next *state.RelayPeer, to netip.AddrPort) {
	next.Endpoint, next.Redirect, w.setAt = to, true, now
}

// udpPause returns how long the relay is reached over TCP at least.
func (w *relayWatch) udpPause() time.Duration {
	if w.backToTCP == 0 {
		return 0
	}
	return min(udpPause<<min(w.backToTCP-1, 10), maxUDPPause)
}

// hear takes what WireGuard shows of the relay. Only who has the relay's private key completes a handshake
// with its peer: initiations of a machine with that key count as received bytes, too.
func (w *relayWatch) hear(now time.Time, r *mesh.BlindRelay, live *state.Peer) {
	if !w.isOwn(live) {
		return
	}
	ofEarlierProcess := w.setAt.IsZero()
	w.answered = w.answered || !live.LastHandshake.IsZero() && !live.LastHandshake.Before(w.madeAt)
	if w.answered && live.ReceiveBytes != w.received && live.ReceiveBytes > 0 || ofEarlierProcess && now.Sub(live.LastHandshake) < relayGone {
		w.received, w.heardAt, w.heardFrom = live.ReceiveBytes, now, live.Endpoint
		if live.Endpoint == r.Local {
			w.tried = len(r.Endpoints)
		} else if i := slices.Index(r.Endpoints, live.Endpoint); i >= 0 {
			w.tried = i
		}
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

// ways returns how many ways to a relay there are: its endpoints of UDP, and TCP.
func (w *relayWatch) ways(r *mesh.BlindRelay) int {
	if r.URL == "" {
		return len(r.Endpoints)
	}
	return len(r.Endpoints) + 1
}

// triesTCP reports whether it is TCP's turn.
func (w *relayWatch) triesTCP(r *mesh.BlindRelay) bool { return w.tried%w.ways(r) == len(r.Endpoints) }

// endpoint returns the endpoint that is to be tried: those of UDP in turn, and after them that on loopback,
// if there is one yet.
func (w *relayWatch) endpoint(r *mesh.BlindRelay) netip.AddrPort {
	switch i := w.tried % w.ways(r); {
	case i < len(r.Endpoints):
		return r.Endpoints[i]
	case r.Local.IsValid():
		return r.Local
	default:
		return r.Endpoints[0]
	}
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
		for _, t := range []*time.Time{&w.heardAt, &w.setAt, &w.madeAt, &w.forgotAt, &w.quietSince, &w.overTCP} {
			if !t.IsZero() {
				*t = t.Add(by)
			}
		}
		e.relays[k] = w
	}
	for i := range e.listed {
		if l := &e.listed[i]; !l.until.IsZero() {
			l.until = l.until.Add(by)
		}
	}
	e.offerTries.shift(by)
}

// usableRelays returns the relays that are not this machine, and have an endpoint.
func usableRelays(self mesh.Key, relays []mesh.BlindRelay) (usable []mesh.BlindRelay) {
	for _, r := range relays {
		r.Endpoints = slices.DeleteFunc(slices.Clone(r.Endpoints), func(e netip.AddrPort) bool { return !e.IsValid() || e.Port() == 0 })
		if r.Key != self && !r.Key.IsZero() && len(r.Endpoints) > 0 {
			usable = append(usable, r)
		}
	}
	return usable
}

// separateRelays decides who has a key that both a relay of a discovery service and a machine claim. It is
// the machine if it was up with it: a relay has no part in the cluster's secret, without which a machine
// does not come up. Else it is the relay: a hostile member would turn it off for its cluster.
func (g *gathered) separateRelays(wasUp func(mesh.Key) bool) {
	var relays []mesh.BlindRelay
	claimed := map[mesh.Key]string{}
	for _, r := range g.relays {
		i := slices.IndexFunc(g.good, func(a *mesh.Affiliate) bool { return a.KubeSpan.PublicKey == r.Key })
		if i >= 0 && (g.good[i].Static || wasUp(r.Key)) {
			g.announcing = append(g.announcing, condition.Condition{Code: condition.RelayKeyClaimed, Subject: r.Name,
				Cause:  fmt.Sprintf("the relay %s has the key of %s, and is not used", r.Name, nameOf(g.good[i])),
				Remedy: "find out who runs the discovery service"})
			continue
		}
		relays = append(relays, r)
		claimed[r.Key] = r.Name
	}
	g.relays = relays
	g.refuseKeysOf(claimed)
}

// refuseKeysOf leaves out the machines that publish keys of relays, which are given with their names.
func (g *gathered) refuseKeysOf(relays map[mesh.Key]string) {
	if !g.claimAnyOf(relays) {
		return
	}
	var good []*mesh.Affiliate
	for _, a := range g.good {
		relay, claims := relays[a.KubeSpan.PublicKey]
		if !claims {
			good = append(good, a)
			continue
		}
		g.refused[a.NodeID] = "claims the public key of the relay " + relay
		g.announcing = append(g.announcing, condition.Condition{Code: condition.RelayKeyClaimed, Subject: nameOf(a),
			Cause:  fmt.Sprintf("%s publishes the key of the relay %s as its own, and is ignored", nameOf(a), relay),
			Remedy: "find who runs that machine: rotate its key if it is a mistake, or give the other machines a new cluster.secret"})
	}
	g.good = good
}

// claimAnyOf reports whether machines publish keys of relays.
func (g *gathered) claimAnyOf(relays map[mesh.Key]string) bool {
	if len(relays) == 0 {
		return false
	}
	for i := range g.good {
		if _, claims := relays[g.good[i].KubeSpan.PublicKey]; claims {
			return true
		}
	}
	return false
}

// nameOf returns the name of a machine for people.
func nameOf(a *mesh.Affiliate) string { return cmp.Or(a.Nodename, a.NodeID) }

// wasUp reports whether a peer was up since this process began.
func (e *Engine) wasUp(key mesh.Key) bool {
	c := e.tracker.Connections().Find(key, 0)
	return c != nil && !c.Status.UpSince.IsZero()
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
