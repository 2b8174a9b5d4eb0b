package agent

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/when"
)

// probeQueue is how many probes wait for the goroutine that answers them. More are lost.
const probeQueue = 512

// pathfinder finds direct paths to peers, and blind relays that are lost, by probes from WireGuard's port.
type pathfinder struct {
	// report takes what has changed.
	report func(reconciler.Direct)
	// nudged takes where a nudge of a relay comes from.
	nudged func(from netip.AddrPort)
	// publish takes what probes have shown of each peer, by key.
	publish func(paths map[string]any)
	log     *slog.Logger
	// turns has the last turn of the loop, and probes what came to the port.
	turns  lastTurn
	probes chan heardProbe

	// The fields below belong to run.

	turn   reconciler.Turn
	shared *sharing
	nudges map[mesh.Key]time.Time // the last of each relay that was taken
	prober path.Prober
	relays path.RelayProber
	// reported is what was reported last.
	reported reconciler.Direct
	// explained is when it was last looked for why peers have no path.
	explained time.Time
	// reportedAt is what explained was when something was last reported.
	reportedAt time.Time
}

// heardProbe is a packet that has the form of a probe.
type heardProbe struct {
	from   netip.AddrPort
	packet []byte
}

// newPathfinder returns a pathfinder for the mesh of a loop, which shares a port of ports.
func newPathfinder(loop *reconciler.Loop, ports *sharedPorts, store *resource.Store, log *slog.Logger) *pathfinder {
	publish := func(paths map[string]any) { store.Replace(time.Now(), resource.Paths, paths) }
	return &pathfinder{report: loop.SetDirect, nudged: loop.Nudged, publish: publish, log: log, turns: newLastTurn(), probes: make(chan heardProbe, probeQueue),
		shared: ports.sharing(log)}
}

// run looks for paths until ctx ends.
func (f *pathfinder) run(ctx context.Context) {
	defer f.shared.stop()
	for {
		var due <-chan time.Time
		if next := f.step(time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case f.turn = <-f.turns:
		case <-due:
		case p := <-f.probes:
			f.hear(p)
		case conn := <-f.shared.ended:
			f.shared.lost(conn, time.Now())
		}
		// What came before a step is heard before it: late is not lost.
		for range len(f.probes) {
			f.hear(<-f.probes)
		}
	}
}

// hear answers a probe, or takes what a relay says.
func (f *pathfinder) hear(p heardProbe) {
	switch {
	case f.shared.conn == nil:
	case path.IsNudge(p.packet):
		f.nudge(time.Now(), p.from)
	case path.IsCheckAnswer(p.packet):
		f.relays.Heard(time.Now(), p.from, p.packet)
	case f.punches():
		f.send(f.prober.Heard(time.Now(), p.from, p.packet))
	}
}

// nudgePause is how long further nudges of a relay are ignored.
const nudgePause = time.Second

// nudge takes a nudge of a relay that is in use. Anybody can send what looks like one, also with the address
// of a relay.
func (f *pathfinder) nudge(now time.Time, from netip.AddrPort) {
	i := slices.IndexFunc(f.turn.Probing.Relays, func(r path.Relay) bool { return r.At == from })
	if i < 0 {
		return
	}
	key := f.turn.Probing.Relays[i].Key
	if last, known := f.nudges[key]; known && now.Sub(last) < nudgePause {
		return
	}
	maps.DeleteFunc(f.nudges, func(_ mesh.Key, last time.Time) bool { return now.Sub(last) >= nudgePause })
	if f.nudges == nil {
		f.nudges = map[mesh.Key]time.Time{}
	}
	f.nudges[key] = now
	f.relays.Hurry(from)
	f.nudged(from)
}

// step sends the probes that are due, and returns when the next step is due; zero for never.
func (f *pathfinder) step(now time.Time) (next time.Time) {
	if !f.punches() && (!f.meshes() || len(f.turn.Probing.Relays) == 0) {
		f.shared.stop()
		f.rest(path.Off)
		return time.Time{}
	}
	if again := f.shared.keep(now, uint16(f.turn.Mesh.Port), f.turn.Config.KubeSpan().FirewallMark, f.take); !again.IsZero() {
		f.rest(path.NotShared)
		return again
	}
	checks, next := f.relays.Step(now, f.turn.Probing.Relays)
	f.send(checks)
	found := reconciler.Direct{Relays: f.relays.States()}
	if slices.Equal(found.Relays, f.reported.Relays) {
		found.Relays = f.reported.Relays
	}
	if !f.punches() {
		f.prober = path.Prober{}
		found.Off = path.Off
		f.publish(nil)
		f.reportNew(found)
		return next
	}
	sent, due := f.prober.Step(now, f.turn.Probing.Self, f.turn.Probing.Peers)
	f.send(sent)
	found.On, found.Paths, found.Why = true, f.prober.Proven(), f.why(now)
	f.reportNew(found)
	if next = when.Earlier(next, due); len(f.turn.Probing.Peers) > 0 {
		next = when.Earlier(next, f.explained.Add(explainEvery))
	}
	return next
}

// explainEvery is how often it is looked for why peers have no path.
const explainEvery = 5 * time.Second

// why returns why peers have no path, as of a short while ago.
func (f *pathfinder) why(now time.Time) map[mesh.Key]string {
	if now.Sub(f.explained) < explainEvery && f.reported.On {
		return f.reported.Why
	}
	f.explained = now
	reasons := map[mesh.Key]string{}
	labels, paths := f.labels(), map[string]any{}
	for i := range f.turn.Probing.Peers {
		peer := &f.turn.Probing.Peers[i]
		r := f.prober.Report(peer.Key)
		if r.Why != "" && (peer.Relayed || !peer.Up) {
			reasons[peer.Key] = r.Why.Text()
		}
		paths[peer.Key.String()] = pathSpec(labels[peer.Key.String()], &r)
	}
	f.publish(paths)
	return reasons
}

// labels returns what the peers call themselves, by key.
func (f *pathfinder) labels() map[string]string {
	labels := make(map[string]string, len(f.turn.Peers))
	for _, r := range f.turn.Peers {
		if s, is := r.Spec.(resource.PeerStatus); is {
			labels[r.ID] = s.Label
		}
	}
	return labels
}

// pathSpec returns what probes have shown of a peer, as it is published.
func pathSpec(label string, r *path.Report) resource.Path {
	spec := resource.Path{Label: label, Endpoint: r.Path.Endpoint, Punched: r.Path.Punched, Why: r.Why.Text(), OwnNAT: r.Own, PeerNAT: r.Peer, NextRound: r.Next}
	for _, c := range r.Candidates {
		spec.Candidates = append(spec.Candidates, resource.PathCandidate{Endpoint: c.Endpoint, Outcome: string(c.Outcome), Why: c.Why.Text(),
			Learnt: c.Learnt, TriedAt: c.TriedAt, RTT: resource.Duration(c.RTT)})
	}
	return spec
}

// rest forgets what was found, since no paths are looked for.
func (f *pathfinder) rest(why path.Reason) {
	f.prober, f.relays = path.Prober{}, path.RelayProber{}
	f.publish(nil)
	f.reportNew(reconciler.Direct{Off: why})
}

// meshes reports whether there is a mesh.
func (f *pathfinder) meshes() bool {
	config := f.turn.Config
	return config != nil && config.KubeSpan().Enabled && f.turn.Mesh.Link != ""
}

// punches reports whether there is a mesh whose config has paths looked for.
func (f *pathfinder) punches() bool { return f.meshes() && f.turn.Config.KubeSpan().NAT.Punch }

// send sends probes. One that cannot be sent is as one that is lost.
func (f *pathfinder) send(all []path.Send) {
	for _, s := range all {
		if err := f.shared.conn.Send(s.To, s.Payload, uint8(s.TTL)); err != nil {
			f.log.Debug("probe not sent", "to", s.To.String(), "error", err)
		}
	}
}

// reportNew reports what was found, if that has changed.
func (f *pathfinder) reportNew(d reconciler.Direct) {
	// While nothing has changed, both are what they were: anybody can send what looks like a probe.
	sameRelays := slices.Equal(d.Relays, f.reported.Relays)
	if sameRelays && d.On == f.reported.On && d.Off == f.reported.Off && samePaths(d.Paths, f.reported.Paths) && f.reportedAt.Equal(f.explained) {
		return
	}
	f.reportedAt = f.explained
	same := sameRelays && d.On == f.reported.On && d.Off == f.reported.Off && slices.Equal(d.Paths, f.reported.Paths) && maps.Equal(d.Why, f.reported.Why)
	f.reported = d
	if !same {
		f.report(d)
	}
}

// samePaths reports whether both are one list.
func samePaths(a, b []mesh.Path) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// take takes what comes to the port. What is more than run takes in time is lost.
func (f *pathfinder) take(from netip.AddrPort, payload []byte) {
	if !path.IsNudge(payload) && !path.IsProbe(payload) && !path.IsCheckAnswer(payload) {
		return
	}
	select {
	case f.probes <- heardProbe{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), bytes.Clone(payload)}:
	default:
	}
}
