package reconciler

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// LiveFor is how long after a turn a Loop counts as live. It turns at least every half minute.
const LiveFor = 90 * time.Second

// Turn is what a Loop has after each turn: a pass, a request, or the end of a pause of at most
// half a minute.
type Turn struct {
	// At is when the turn ended.
	At time.Time
	// Health is the health of the machine then. HealthAt has it for later.
	Health health.Report
	// Config is in force; nil before the first. It stays while the mesh is down.
	Config *schema.Config
	// Down is set after Loop.Down.
	Down bool
	// File is what is known of the config file; nil as long as that is not known.
	File *health.Config
	// Mesh is the machine's end of the mesh.
	Mesh Mesh
	// Sessions are the connections to registries.
	Sessions []health.Session
	// Peers are the resource.PeerStatuses after the last pass, sorted by ID. They are not to be
	// changed.
	Peers []resource.Resource
	// Host is what the last pass has read of the machine. Its lists are not to be changed.
	Host mesh.Host
	// Relays are the blind relays that the machine has joined. They are not to be changed.
	Relays []mesh.BlindRelay
	// OverTCP are those of them that are reached over TCP, or tried so.
	OverTCP []mesh.BlindRelay
	// Admitted are the machines for which a relay on this one carries packets. They are not to be changed.
	Admitted Admitted
	// Probing is what paths to peers are looked for with. It is not to be changed.
	Probing Probing
	// NetworkChanges counts the passes with Pass.NetworkChanged.
	NetworkChanges int
}

// HealthAt returns the health of the machine at a time after the turn, and whether the loop is
// live. One that has not turned for LiveFor is stuck. Both times need their monotonic parts: the
// clock may be set meanwhile.
func (t *Turn) HealthAt(now time.Time) (report health.Report, live bool) {
	if now.Sub(t.At) < LiveFor {
		return t.Health, true
	}
	stuck := health.Condition{Since: t.At, Shown: true, Condition: condition.Condition{Code: condition.AgentStuck,
		Cause:  "the agent has worked on one pass since then; what is known of the mesh is as old",
		Remedy: "restart the agent, which leaves the mesh up; its log has what it waits for"}}
	report = t.Health
	report.State, report.Ready, report.Conditions = health.Broken, false, append([]health.Condition{stuck}, t.Health.Conditions...)
	return report, false
}

// Mesh is a machine's end of the mesh. It has no link where there is no mesh.
type Mesh struct {
	Link string
	// NodeID is the machine's ID in discovery.
	NodeID string
	// Hostname is the machine's name in the mesh.
	Hostname string
	// Address is the machine's in the mesh.
	Address netip.Addr
	// Subnet is that of all machines' addresses.
	Subnet netip.Prefix
	// Port is the UDP port of WireGuard.
	Port int
	// MTU is that of the link in bytes.
	MTU int
}

// meshOf returns the mesh that a pass leads to.
func meshOf(p *Pass) Mesh {
	link := &p.desired.Link
	return Mesh{Link: link.Name, NodeID: p.identity.NodeID, Hostname: p.local.Hostname, Address: p.identity.Address.Addr(), Subnet: p.identity.Subnet, Port: link.ListenPort, MTU: link.MTU}
}

// Last returns the last turn. It does not wait for the one under way.
func (l *Loop) Last() Turn { return *l.last.Load() }

// endTurn makes the present state that of the last turn.
func (l *Loop) endTurn() {
	now := time.Now()
	l.engine.shared = true
	turn := Turn{At: now, Health: l.engine.health(now), Config: l.config, Down: l.down, Mesh: l.engine.mesh, Sessions: l.discovery.Sessions(),
		Peers: l.engine.statuses, File: l.engine.known.Config, NetworkChanges: l.networkChanges, Probing: l.engine.probing}
	if l.engine.gathered != nil {
		turn.OverTCP = l.engine.overTCP
		turn.Host, turn.Relays = l.engine.gathered.host, l.engine.gathered.relays
		turn.Admitted = l.engine.gathered.admitted
	}
	l.last.Store(&turn)
	l.takeBack(&turn)
	if l.Turned != nil {
		l.Turned(turn)
	}
}

// Know sets what is known of the agent's files. It does not block.
func (l *Loop) Know(known health.Known) {
	l.known.Store(&known)
	select {
	case l.judge <- struct{}{}:
	default:
	}
}

// InForce returns the config that the loop keeps in force; nil before the first. It stays while
// the mesh is down.
func (l *Loop) InForce() *schema.Config { return l.inForce.Load() }

// assess judges the machine's health.
func (l *Loop) assess() {
	if known := l.known.Swap(nil); known != nil {
		l.engine.known = *known
	}
	if serving := l.serving.Swap(nil); serving != nil {
		l.engine.serving = *serving
	}
	l.engine.assess(time.Now())
}
