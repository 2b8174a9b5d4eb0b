package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
)

// maxPeerEvents is how many peers of one pass have an event each. More are one event together:
// the others would be lost.
const maxPeerEvents = 20

// RestoreEvents adds the events of an earlier process, the oldest first.
func (e *Engine) RestoreEvents(events []resource.Event) { e.events.Restore(events) }

// recordNormal records that something happened as it should.
func (e *Engine) recordNormal(now time.Time, reason event.Reason, object, message string) {
	e.events.Record(now, resource.Normal, string(reason), object, message)
}

// Record records an event that no pass finds, such as of the config.
func (l *Loop) Record(ctx context.Context, severity resource.Severity, reason event.Reason, object, message string) error {
	_, err := onLoop(ctx, l, func(context.Context) (struct{}, error) {
		l.engine.events.Record(time.Now(), severity, string(reason), object, message)
		return struct{}{}, nil
	})
	return err
}

// recordPeers records peers that have come up, moved to another endpoint, joined or left.
func (e *Engine) recordPeers(now time.Time, p *Pass, transitions []peer.Transition) {
	var up []string
	var moved []peer.Transition
	for _, t := range transitions {
		if t.After.IsUp() && (t.Before == nil || !t.Before.IsUp()) {
			up = append(up, p.name(t.After.Key))
		}
		if t.Moved() {
			moved = append(moved, t)
		}
	}
	e.recordEach(now, event.PeerUp, "is reached", up)
	e.recordWays(now, p, transitions)
	e.recordMoved(now, p, moved)
	if e.told == e.gathered {
		return
	}
	if e.told != nil && !isSame(e.told.specs, p.specs) {
		joined, left := without(p.specs, e.told.specs), without(e.told.specs, p.specs)
		e.recordEach(now, event.PeerJoined, "has joined the mesh", joined)
		e.recordEach(now, event.PeerLeft, "has left the mesh", left)
	}
	e.told = e.gathered
}

// recordWays records peers that are reached in another way, those with the same way together if they are
// many.
func (e *Engine) recordWays(now time.Time, p *Pass, transitions []peer.Transition) {
	var ways []way
	names := map[way][]string{}
	for _, t := range transitions {
		was := peer.Connection{}
		if t.Before != nil {
			was = *t.Before
		}
		w := p.way(&was, t.After)
		if w.reason == "" {
			continue
		}
		if names[w] == nil {
			ways = append(ways, w)
		}
		names[w] = append(names[w], p.name(t.After.Key))
	}
	for _, w := range ways {
		e.recordEach(now, w.reason, w.what, names[w])
	}
}

// recordMoved records peers that are reached at another endpoint, all together if they are many.
func (e *Engine) recordMoved(now time.Time, p *Pass, moved []peer.Transition) {
	if len(moved) > maxPeerEvents {
		e.recordNormal(now, event.EndpointChanged, fmt.Sprintf("%d peers", len(moved)), "are reached at other endpoints")
		return
	}
	for _, t := range moved {
		e.recordNormal(now, event.EndpointChanged, p.name(t.After.Key),
			fmt.Sprintf("is reached at %s, no longer at %s", t.After.LastGood, t.Before.LastGood))
	}
}

// without returns the names of the peers of specs that are not among others. Both are sorted by
// key.
func without(specs, others []mesh.PeerSpec) (names []string) {
	for i := range specs {
		s := &specs[i]
		for len(others) > 0 && others[0].PublicKey.Compare(s.PublicKey) < 0 {
			others = others[1:]
		}
		if len(others) == 0 || others[0].PublicKey != s.PublicKey {
			names = append(names, s.Name)
		}
	}
	return names
}

// recordEach records what happened to each of the peers, or to all together if they are many.
func (e *Engine) recordEach(now time.Time, reason event.Reason, what string, names []string) {
	if len(names) > maxPeerEvents {
		e.recordNormal(now, reason, fmt.Sprintf("%d peers", len(names)), what)
		return
	}
	for _, name := range names {
		e.recordNormal(now, reason, name, what)
	}
}

// recordSessions records registries that have been connected to since the last call.
func (e *Engine) recordSessions(now time.Time, sessions []health.Session) {
	states := make(map[string]health.Session, len(sessions))
	for _, x := range sessions {
		key := x.Registry + " " + x.URL
		states[key] = x
		before := e.sessionsBefore[key]
		if x.State == health.Connected && !before.Since.Equal(x.Since) {
			e.recordNormal(now, event.DiscoveryConnected, x.URL, "the registry is connected")
		}
		if x.RedirectedTo != "" && x.RedirectedTo != before.RedirectedTo {
			e.recordNormal(now, event.DiscoveryRedirected, x.URL, "redirects to "+x.RedirectedTo)
		}
	}
	e.sessionsBefore = states
}
