package reconciler

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// offerTrial is how long the relay of a member may fail to answer before the next one is used: all
	// of its endpoints are tried meanwhile.
	offerTrial = 45 * time.Second
	// offerPause is when it is tried again.
	offerPause = 10 * time.Minute
)

// offerTry is what became of the relay of a member.
type offerTry struct {
	// since is when it began not to answer; zero while it does.
	since time.Time
	// until is until when it is left out.
	until time.Time
}

// offerTries has them by the keys of the relays.
type offerTries map[mesh.Key]offerTry

// chooseOffers returns the first of the relays of members that answer, as many as there is room for, and
// what is known of them next. All machines of a cluster have the relays in the same order: any two that
// reach the same relays choose the same. One that does not answer is left out for some time, so that a
// member which is off, or behind a NAT, keeps nobody from the others. Those that carry packets stay
// meanwhile, as many again.
func chooseOffers(now time.Time, room int, offered []mesh.BlindRelay, answers, carries func(mesh.Key) bool, before offerTries) (chosen []mesh.BlindRelay, next offerTries) {
	next = offerTries{}
	var kept []mesh.BlindRelay
	for _, r := range offered {
		try := before[r.Key]
		if now.Before(try.until) {
			next[r.Key] = try
			continue
		}
		if len(chosen) >= room {
			if len(kept) < room && carries(r.Key) {
				kept = append(kept, r)
			}
			continue
		}
		switch {
		case answers(r.Key):
			try = offerTry{}
		case try.since.IsZero() || !try.until.IsZero():
			try = offerTry{since: now}
		case now.Sub(try.since) >= offerTrial:
			next[r.Key] = offerTry{until: now.Add(offerPause)}
			continue
		}
		next[r.Key] = try
		chosen = append(chosen, r)
	}
	return append(chosen, kept...), next
}

// shift returns what is known after the machine's clock was stepped by some time.
func (t offerTries) shift(by time.Duration) {
	for k, try := range t {
		for _, at := range []*time.Time{&try.since, &try.until} {
			if !at.IsZero() {
				*at = at.Add(by)
			}
		}
		t[k] = try
	}
}

// addOffers adds relays of members to those of the services, as far as there is room. What a service
// says of its relay counts, and not what a member says of one with the same key, nor with that of a machine
// which WireGuard still has. It returns what is known of those of members next.
func (e *Engine) addOffers(p *Pass, now time.Time, live []state.Peer) (next offerTries) {
	offered := slices.DeleteFunc(slices.Clone(p.offered), func(r mesh.BlindRelay) bool {
		return r.Key == e.offer.Key || hasMachine(live, r.Key) || slices.ContainsFunc(p.relays, func(of mesh.BlindRelay) bool { return of.Key == r.Key })
	})
	before := e.offerTries
	if p.NetworkChanged {
		before = nil
	}
	answers := func(k mesh.Key) bool {
		w := e.relays[k]
		return !w.heardAt.IsZero() && now.Sub(w.heardAt) < relayGone
	}
	chosen, next := chooseOffers(now, mesh.MaxRegistered-len(p.relays), offered, answers, e.carriers(now, live), before)
	p.relays = append(slices.Clip(p.relays), chosen...)
	return next
}

// carriers returns what reports whether a relay carries packets of this machine, or has a session with
// it that an earlier process of the agent has left.
func (e *Engine) carriers(now time.Time, live []state.Peer) func(mesh.Key) bool {
	return func(k mesh.Key) bool {
		if _, known := e.relays[k]; !known {
			i, has := slices.BinarySearchFunc(live, k, func(x state.Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
			return has && now.Sub(live[i].LastHandshake) < peer.RejectAfterTime
		}
		return slices.ContainsFunc(e.tracker.Connections(), func(c peer.Connection) bool { return c.BlindRelay == k })
	}
}

// hasMachine reports whether WireGuard has a peer for a machine with a key. Peers are sorted by key.
func hasMachine(live []state.Peer, k mesh.Key) bool {
	i, has := slices.BinarySearchFunc(live, k, func(x state.Peer, k mesh.Key) int { return x.PublicKey.Compare(k) })
	return has && live[i].IsMachine()
}

// provenRelays returns the names of the relays that have answered by a handshake, by key: no machine has
// such a key, unless it was up with it.
func (e *Engine) provenRelays() map[mesh.Key]string {
	proven := map[mesh.Key]string{}
	for i := range e.relayPeers {
		if r := e.relayPeers[i].Relay; !e.relays[r.Key].heardAt.IsZero() && !e.wasUp(r.Key) {
			proven[r.Key] = r.Name
		}
	}
	return proven
}

// Offer is the blind relay that this machine is for others. The zero value is none.
type Offer struct {
	Key  mesh.Key
	Port uint16
}

// SetOffer sets the blind relay that this machine is for others, and asks for a pass that publishes it.
// It does not block.
func (l *Loop) SetOffer(o Offer) {
	l.offer.Store(&o)
	l.Wake(PathsChanged)
}

// SetServing sets what the relay that this machine is for others serves. It does not block, and asks for
// no pass: nothing is published of it.
func (l *Loop) SetServing(o health.OfferedRelay) {
	l.serving.Store(&o)
	select {
	case l.judge <- struct{}{}:
	default:
	}
}

// publishOffer publishes the relay that this machine is.
func (p *Pass) publishOffer(o Offer) {
	p.Local.KubeSpan.Offer = mesh.OfferRelay(o.Key, o.Port, p.Local.KubeSpan.Endpoints)
}

// Admitted are the machines that a blind relay on this one carries packets for.
type Admitted struct {
	// Members register with the relay. WithoutAgent do not: they are found by what members send them.
	Members, WithoutAgent []mesh.Key
	// Complete is set where these are all. Before every registry has answered, others may be missing.
	Complete bool
}

// admit returns whom a relay carries packets for of the machines of the cluster, sorted by key. Complete
// says whether they are all that there are.
func admit(machines []*mesh.Affiliate, complete bool) Admitted {
	a := Admitted{Complete: complete}
	for _, m := range machines {
		if k := &m.KubeSpan; m.Version != "" || k.Probes || len(k.Registered) > 0 {
			a.Members = append(a.Members, k.PublicKey)
		} else {
			a.WithoutAgent = append(a.WithoutAgent, k.PublicKey)
		}
	}
	return a
}
