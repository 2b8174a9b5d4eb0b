package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// Kernel is the machine that an Engine works on.
type Kernel interface {
	// Host returns the machine's name and addresses, without those of the mesh link. Choose may
	// overrule which links' addresses are announced.
	Host(meshLink string, choose mesh.LinkChoice) (mesh.Host, error)
	// Observe reads what is in the kernel under the marks of scope.
	Observe(scope state.Scope) (state.State, error)
	// Trace asks where packets go. It sends nothing. A way is zero if it is not known.
	Trace(paths []state.Path) []state.Way
	// Apply carries out a plan in order and stops at the first error.
	Apply(ctx context.Context, scope state.Scope, plan state.Plan) state.Result
	// Device reads WireGuard's device only: the key, port and mark of the link, and the
	// peers, sorted by key, which are valid until the next reading.
	Device(scope state.Scope) (state.Link, []state.Peer, error)
	// Restart ends a WireGuard process that does not answer: the next pass makes the link
	// anew. An error of Observe or Device with condition.WireGuardUnresponsive asks for it.
	Restart(ctx context.Context, scope state.Scope) error
	// ClearSources clears the source address that WireGuard has cached for each peer, as the
	// machine's addresses have changed.
	ClearSources(scope state.Scope) error
	// Probe sends an echo through the tunnel to each peer. Where it cannot, it sends other data,
	// which the WireGuard of the peer answers.
	Probe(ctx context.Context, scope state.Scope, probes []peer.Probe) error
	// Replies returns the peers that have answered an echo since the last call, sorted by key.
	Replies() []peer.Reply
}

// Identify returns the machine's identity in a cluster. It makes and keeps keys on first
// use.
type Identify func(clusterID string, host mesh.Host) (mesh.Identity, error)

// Knowledge is what all registries know together.
type Knowledge struct {
	// Affiliates are the other machines, sorted by node ID. Static peers are among them.
	Affiliates []*mesh.Affiliate
	// PresharedKeys are the keys of single peers, in place of the cluster secret.
	PresharedKeys map[mesh.Key]mesh.PrivateKey
	// Seen are this machine's addresses as others see them.
	Seen []netip.Addr
	// Outside is how NATs map this machine's port.
	Outside mesh.Outside
	// Node is what a Kubernetes cluster knows about this machine.
	Node mesh.Node
	// Relays are the blind relays that this machine has joined, at most mesh.MaxRegistered.
	Relays []mesh.BlindRelay
	// Refused has the reasons why registries do not use affiliates, by node ID.
	Refused map[string]string
	// Unreadable are the node IDs of those of Refused that the cluster secret does not open, sorted.
	Unreadable []string
	// Conditions are what registries have found to be wrong.
	Conditions []condition.Condition
	// Version differs whenever another field differs. 0 means that it is not known.
	Version uint64
	// Complete is set when every registry has answered: a machine that is not among
	// Affiliates has left the mesh.
	Complete bool
}

// Trigger is the reason for a pass. The zero value asks for a full pass.
type Trigger struct {
	// DeviceOnly is set when only time has passed: WireGuard's device is read, and the rest
	// is taken from the last full reading, if that is younger than fullReadInterval.
	DeviceOnly bool
	// Held are objects whose repairs are held back: a pass that only repairs leaves them out.
	// One that carries out news repairs them as well.
	Held map[string]bool
	// Contested is the object of repairs that follow each other; "" for none.
	Contested string
	// NetworkChanged is set when this machine's addresses or routes have changed, or it was
	// suspended: any peer may have become reachable or unreachable.
	NetworkChanged bool
	// ClockStep is by how much the clock was set since the last pass.
	ClockStep time.Duration
}

// Engine does passes: it reads the kernel, builds the desired document, compares,
// applies and publishes. It is for one goroutine.
type Engine struct {
	// AlwaysInitiate makes this machine the initiator for every new peer. A single pass
	// needs it: no second one would initiate later.
	AlwaysInitiate bool
	// Version is that of spanctl, which is published; empty for none.
	Version string
	// Started is when the agent started; zero for a single pass.
	Started time.Time
	// Claim, if set, is called with the names of the links that a pass works on, before it
	// reads them. Its error, such as that of another agent that works on one, ends the pass.
	Claim func(links ...string) error
	// Former, if set, finds what earlier configs of this machine have left in the kernel under other
	// ownership marks than those of a config.
	Former func(of state.Scope) ([]state.Scope, error)
	// SaveLastGood, if set, is called with the last good endpoints when they have changed.
	SaveLastGood func(lastGood map[mesh.Key]netip.AddrPort)
	// LinkMTU, if set, is called with the link's MTU in bytes when it has changed: 0 when
	// there is no link any more.
	LinkMTU func(mtu int)
	// PathChanged, if set, is called with the way to a peer when it is reached, or reached
	// otherwise.
	PathChanged func(Path)
	// Meter counts what the engine does.
	Meter Meter

	// sessions returns the connections to registries; nil for a single pass.
	sessions func() []health.Session

	// sessionsBefore are the sessions that events were recorded for, by registry and URL.
	sessionsBefore map[string]health.Session
	// told is what was gathered when peers that joined and left were last recorded.
	told *gathered

	kernel   Kernel
	identify Identify
	store    *resource.Store
	events   *resource.Recorder
	log      *slog.Logger

	// remembered has the names of the machines that could be read, by node ID.
	remembered map[string]string

	// tracker has the state of the connection to each peer.
	tracker peer.Tracker
	// owners has the prefixes of the peers.
	owners owners
	// paths has the ways to the peers.
	paths paths
	// probesFail is set when the last probes could not be sent.
	probesFail bool
	// filtered are the peers to whom this machine's firewall let the last probe not out.
	filtered map[mesh.Key]bool
	// observed is what the last pass has seen of the peers.
	observed []peer.Observed
	// planning is set while a plan is made that nobody carries out.
	planning bool
	// gatherings counts what was gathered.
	gatherings uint64
	// overAll makes every pass work on all peers; tests compare incremental passes with it.
	overAll bool
	// overAllAt is when one did last, apart from that.
	overAllAt time.Time
	// document builds the desired state of the passes.
	document document
	// replies are the answers to echoes that this pass has read.
	replies []peer.Reply
	// refused are the reasons of the last pass, by node ID.
	refused map[string]string
	// conditions are what health.Assess returned last.
	conditions []health.Condition
	// peers, members and blindRelays are what the last pass knew of them.
	peers       health.Peers
	members     health.Members
	blindRelays []health.BlindRelay
	// healthState is what was published last.
	healthState resource.HealthState
	// found are the conditions of the last pass that succeeded.
	found []condition.Condition
	// standing are the conditions that no pass finds, by their codes.
	standing map[condition.Code][]condition.Condition
	// failure is the last pass, if that failed; nil otherwise.
	failure *health.Failure
	// asked is the mesh that the loop is asked for.
	asked health.Mesh
	// known is what is known of the agent's files.
	known health.Known
	// due is how long after the last assessment a condition is shown or ends by time alone; zero
	// for never.
	due time.Duration
	// statuses are the resource.PeerStatuses of the last pass, and shown what they were made of. Shared is
	// set once others have the list.
	statuses []resource.Resource
	shared   bool
	shown    shown
	// followed are the specs that paths were made of.
	followed []mesh.PeerSpec
	// shadows are the rules of other programs that lead packets elsewhere.
	shadows shadows
	// drops are the packets that were dropped instead of leaving in clear.
	drops drops
	// lastRead is the last full reading of the kernel, without the peers; nil after a failure or a change.
	lastRead *state.State
	// lastReadAt is the time of lastRead.
	lastReadAt time.Time
	// gathered is what the last pass made of its inputs.
	gathered *gathered
	// published is gathered.id when resources were last published; 0 for none.
	published uint64
	// converged is set when the last pass applied its whole plan.
	converged bool
	// everConverged is set once a pass has succeeded.
	everConverged bool
	// mesh is the one of the last pass.
	mesh Mesh
	// mtu is the last argument of LinkMTU; -1 before the first call, since what an earlier
	// process published may be outdated.
	mtu int
	// repaired are the repairs of the last pass that had any, as text.
	repaired map[string]bool
	// unconverged are the repairs that did not converge.
	unconverged map[string]bool
	// unresponsiveSince is when WireGuard did not answer for the first time; zero while it
	// does.
	unresponsiveSince time.Time
	// direct are the direct paths to peers, and probing is what they are looked for with.
	direct  Direct
	probing Probing
	// probed are the specs that probing was made of.
	probed []mesh.PeerSpec
	// overTCP are the relays that are to be reached over TCP in the last pass.
	overTCP []mesh.BlindRelay
	// nudged are the endpoints of relays that have asked for a handshake since the last pass.
	nudged map[netip.AddrPort]bool
	// tunnels are the endpoints on loopback of blind relays.
	tunnels map[mesh.Key]netip.AddrPort
	// relays are the connections to the blind relays, and relayPeers those of the last pass.
	relays     map[mesh.Key]relayWatch
	relayPeers []state.RelayPeer
	// listed are the endpoints of relays that the machine lists among its own, or has withdrawn.
	listed []listedRelay
	// offer is the relay that this machine is, and offerTries what became of those of members.
	offer   Offer
	serving health.OfferedRelay
	// returns counts how often a relay was reached by UDP again, after it was over TCP.
	returns    int
	offerTries offerTries
	// neighbours are the other meshes of the machine in the last pass.
	neighbours []state.Neighbour
	// formerLink is the name of the link before Move, until a pass has replaced its tables.
	formerLink string
	// deviceChanged is set when the last pass changed the device, such as its port: peers
	// must relearn our endpoint.
	deviceChanged bool
}

// NewEngine returns an engine that works on kernel and publishes to store.
func NewEngine(kernel Kernel, identify Identify, store *resource.Store, log *slog.Logger) *Engine {
	e := &Engine{kernel: kernel, identify: identify, store: store, events: resource.NewRecorder(store), log: log, mtu: -1, Meter: unmetered{}}
	e.events.Recorded = func(reason string) { e.Meter.Recorded(reason) }
	return e
}

// RestoreLastGood adds the last good endpoints of an earlier process, by key. They are
// tried early.
func (e *Engine) RestoreLastGood(lastGood map[mesh.Key]netip.AddrPort) { e.tracker.Restore(lastGood) }

// Run does a full pass.
func (e *Engine) Run(ctx context.Context, now time.Time, config *schema.Config, known Knowledge) (*Pass, error) {
	return e.RunFor(ctx, now, config, known, Trigger{})
}

// RunFor does a pass for a trigger.
func (e *Engine) RunFor(ctx context.Context, now time.Time, config *schema.Config, known Knowledge, t Trigger) (*Pass, error) {
	p, err := e.run(ctx, now, config, known, t)
	if err != nil {
		if p != nil && !e.everConverged {
			e.found = p.Conditions
		}
		e.holdFailure(now, err)
		return p, err
	}
	e.everConverged = true
	e.mesh = meshOf(p)
	e.holdConditions(now, p.Conditions)
	return p, nil
}

func (e *Engine) run(ctx context.Context, now time.Time, config *schema.Config, known Knowledge, t Trigger) (*Pass, error) {
	e.tracker.Shift(t.ClockStep)
	e.shiftRelays(t.ClockStep)
	if err := e.claim(config.KubeSpan().InterfaceName); err != nil {
		return nil, err
	}
	last := e.gathered
	p, live, err := e.read(now, config, known, t)
	if e.isWedged(now, err) {
		e.restart(ctx, now, state.ScopeOf(config.KubeSpan()))
		p, live, err = e.read(now, config, known, Trigger{})
	}
	if err != nil {
		return nil, err
	}
	e.replies = e.kernel.Replies()
	for _, r := range e.replies {
		e.Meter.Answered(r.Peer, r.RTT)
	}
	p.NetworkChanged = t.NetworkChanged || last != nil && !last.host.Equal(p.host)
	e.stepRelays(p, now, live.Peers)
	e.stepPeers(p, now, config, live, p.NetworkChanged || e.deviceChanged)
	e.publishRelays(p, now)
	p.resolveOwners(now, &e.owners, live.Peers)
	if p.config != nil {
		e.gathered.specs = p.specs
	}
	p.Same = last == e.gathered && last != nil && e.isSame(p, live)
	e.neighbours = live.Neighbours
	if err := p.compare(now, config, known, live, &e.document); err != nil {
		e.converged = false
		return nil, err
	}
	p.findConditions(config.KubeSpan().Addresses, known, live, &e.owners)
	p.reportUnconverged(e.unconverged, p.Plan)
	p.reportRepeated(t.Contested)
	missing, leading := incomplete(p.Plan), slices.ContainsFunc(p.Plan, leadsIntoTunnel)
	e.holdRepairs(p, t.Held)
	if err := e.apply(ctx, now, p); err != nil {
		return p, err
	}
	before := e.shadows
	e.shadows = e.traceRoutes(p, live, missing && p.Held > 0)
	e.drops = e.followDrops(now, p, live, leading, len(before.paths)+len(e.shadows.paths) > 0)
	return p, nil
}

// isSame reports whether the last pass converged, and relays, owners and the other meshes of the
// machine are as they were then.
func (e *Engine) isSame(p *Pass, live state.State) bool {
	return e.converged && !p.moved && !p.relaysMoved && p.peers.SameRelays(e.tracker.Connections(), p.stepped) &&
		slices.Equal(e.neighbours, live.Neighbours)
}

// Plan compares the kernel with what config and knowledge ask for. It changes nothing,
// neither in the kernel nor in the engine. Which endpoint of a peer is on trial is no
// difference.
func (e *Engine) Plan(now time.Time, config *schema.Config, known Knowledge) (*Pass, error) {
	// The next pass must find out itself what has changed since the last one.
	lastRead, lastReadAt, gathered, formerLink := e.lastRead, e.lastReadAt, e.gathered, e.formerLink
	scope := state.ScopeOf(config.KubeSpan())
	former, err := e.former(scope)
	if err != nil {
		return nil, err
	}
	for _, before := range former {
		if before.LinkName != scope.LinkName {
			e.formerLink = before.LinkName
		}
	}
	e.planning = true
	p, live, err := e.read(now, config, known, Trigger{})
	e.planning = false
	e.lastRead, e.lastReadAt, e.gathered, e.formerLink = lastRead, lastReadAt, gathered, formerLink
	if err != nil {
		return nil, err
	}
	e.replies = nil
	e.planRelays(p, now, live.Peers)
	e.stepPeers(p, now, config, live, false)
	p.specs = slices.Clone(p.specs) // the engine has the old list
	owners := e.owners.clone()
	p.resolveOwners(now, owners, live.Peers)
	for i, found := range live.Peers {
		if c := p.peers.Find(found.PublicKey, i); c != nil {
			c.Action.Endpoint, c.Action.Renew = netip.AddrPort{}, false
		}
	}
	if err := p.compare(now, config, known, live, &document{}); err != nil {
		return p, err
	}
	p.findConditions(config.KubeSpan().Addresses, known, live, owners)
	e.traceRoutes(p, live, incomplete(p.Plan))
	removed, err := e.planFormer(former, p.Scope)
	p.Plan = append(removed, p.Plan...)
	return p, err
}

// Remove takes down everything under the marks of scope.
func (e *Engine) Remove(ctx context.Context, now time.Time, scope state.Scope) (*Pass, error) {
	if err := e.claim(scope.LinkName); err != nil {
		return nil, err
	}
	live, err := e.kernel.Observe(scope)
	if isUnresponsive(err) {
		e.restart(ctx, now, scope) // the process is to go anyhow
		live, err = e.kernel.Observe(scope)
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's state: %w", err)
	}
	e.lastRead = nil
	e.peers, e.members, e.blindRelays = health.Peers{}, health.Members{}, nil
	e.holdConditions(now, nil)
	if e.mesh.Link == scope.LinkName {
		e.mesh.Link = ""
	}
	p := &Pass{Scope: scope, NextCheck: peer.IdleInterval, Plan: state.Diff(state.State{}, live)}
	return p, e.apply(ctx, now, p)
}

// RemoveAll does Remove for several scopes, as one pass.
func (e *Engine) RemoveAll(ctx context.Context, now time.Time, scopes []state.Scope) (*Pass, error) {
	all := &Pass{NextCheck: peer.IdleInterval}
	for _, scope := range scopes {
		p, err := e.Remove(ctx, now, scope)
		if p == nil {
			return nil, err
		}
		all.add(p)
		if err != nil {
			return all, all.Err()
		}
	}
	return all, nil
}

func (e *Engine) claim(links ...string) error {
	if e.Claim == nil {
		return nil
	}
	return e.Claim(links...)
}

// AffiliateAs returns what the machine would publish with another identity.
func (e *Engine) AffiliateAs(config *schema.Config, known Knowledge, identify Identify) (mesh.Affiliate, error) {
	host, err := e.kernel.Host(config.KubeSpan().InterfaceName, config.KubeSpan().Filters.ChoosesLink)
	if err != nil {
		return mesh.Affiliate{}, fmt.Errorf("read the machine's addresses: %w", err)
	}
	identity, err := identify(config.Cluster.ID, host)
	if err != nil {
		return mesh.Affiliate{}, fmt.Errorf("make another key: %w", err)
	}
	local, _ := mesh.LocalAffiliate(identity, config.KubeSpan(), host, known.Seen, known.Outside, known.Node)
	e.identifySelf(&local)
	return local, nil
}

// identifySelf has the machine's affiliate say what runs on it.
func (e *Engine) identifySelf(local *mesh.Affiliate) {
	local.Version = e.Version
	local.KubeSpan.KnowsRelays = !e.Started.IsZero() && !local.KubeSpan.IsZero()
}
