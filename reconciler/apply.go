package reconciler

import (
	"context"
	"log/slog"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// apply applies the plan of a pass, then commits and publishes the result.
func (e *Engine) apply(ctx context.Context, now time.Time, p *Pass) error {
	p.Result = e.kernel.Apply(ctx, p.Scope, p.Plan)
	e.deviceChanged = false
	for _, c := range p.Result.Done {
		level := slog.LevelInfo
		if isTrial(c) {
			level = slog.LevelDebug
		}
		shown := planprint.Describe(c)
		e.Meter.Changed(shown.Kind, shown.Action)
		e.log.Log(ctx, level, "change applied", "change", shown.String())
		if link, is := c.(state.LinkChange); is {
			e.deviceChanged = link.ResetsDevice()
		}
		if _, is := c.(state.PeerChange); !is {
			e.lastRead = nil
		}
	}
	if e.deviceChanged {
		p.NextCheck = 0
	}
	if p.Held > 0 {
		e.lastRead = nil // the next repair starts from a full reading
	}
	if e.converged = p.Result.Err == nil; e.converged {
		e.findStuck(p)
		e.formerLink = ""
		e.probeSilent(ctx, p)
		e.publishMTU(p)
	} else {
		e.lastRead = nil
	}
	e.report(now, p, e.commit(p))
	e.peers, e.members, e.blindRelays = p.healthOfPeers(e.filtered, len(e.peers.Notable)), p.members, p.healthOfRelays()
	e.followPaths(p)
	e.publish(now, p)
	return p.Err()
}

// isTrial reports whether a change only puts another endpoint of a peer on trial, or makes a new session.
func isTrial(c state.Change) bool {
	p, is := c.(state.PeerChange)
	return is && (p.Old.Renew || p.New.Renew) || is && p.Action() == state.Update && p.NewEndpoint() && !p.NewAllowedIPs() && !p.NewKeepalive() && !p.NewPresharedKey()
}

// commit makes the connections of a pass the current ones and returns the peers whose state
// or relay has changed.
func (e *Engine) commit(p *Pass) []peer.Transition {
	notDone := map[mesh.Key]bool{}
	for _, c := range p.Result.NotDone {
		if c, is := c.(state.PeerChange); is && c.Action() != state.Delete {
			notDone[c.New.PublicKey] = true
		}
	}
	transitions, lastGood := e.tracker.Commit(p.peers, notDone)
	if lastGood && e.SaveLastGood != nil {
		e.SaveLastGood(e.tracker.LastGood())
	}
	return transitions
}

// publishMTU reports a change of the link's MTU: 0 where the pass removed the link.
func (e *Engine) publishMTU(p *Pass) {
	mtu := 0
	if p.config != nil && p.config.KubeSpan().Enabled {
		mtu = p.mtu
	}
	if e.LinkMTU != nil && mtu != e.mtu {
		e.mtu = mtu
		e.LinkMTU(mtu)
	}
}

// probeSilent sends the liveness probes that are due.
func (e *Engine) probeSilent(ctx context.Context, p *Pass) {
	if p.NetworkChanged {
		if err := e.kernel.ClearSources(p.Scope); err != nil {
			e.log.Warn("source addresses not cleared", "error", err)
		}
	}
	if len(p.probes) == 0 {
		return
	}
	err := e.kernel.Probe(ctx, p.Scope, p.probes)
	if err != nil && !e.probesFail {
		e.log.Warn("liveness probe failed", "peers", len(p.probes), "error", err)
	}
	e.probesFail = err != nil
	if e.filtered == nil {
		e.filtered = map[mesh.Key]bool{}
	}
	for _, probe := range p.probes {
		delete(e.filtered, probe.Peer)
	}
	for _, key := range peer.FilteredIn(err) {
		e.filtered[key] = true
	}
	for _, probe := range p.probes {
		e.Meter.Probed(probe.Peer)
	}
}
