package reconciler

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/schema"
)

// Turn is what a Loop has after each turn: a pass, a request, or the end of a pause of at most
// half a minute.
type Turn struct {
	// At is when the turn ended.
	At time.Time
	// Health is the health of the machine then.
	Health health.Report
	// Config is in force; nil before the first.
	Config *schema.Config
	// Mesh is the machine's end of the mesh.
	Mesh Mesh
	// Sessions are the connections to registries.
	Sessions []health.Session
}

// Mesh is a machine's end of the mesh. It has no link where there is no mesh.
type Mesh struct {
	Link string
	// Hostname is the machine's name in the mesh.
	Hostname string
	// Address is the machine's in the mesh.
	Address netip.Addr
	// Port is the UDP port of WireGuard.
	Port int
	// MTU is that of the link in bytes.
	MTU int
}

// meshOf returns the mesh that a pass leads to.
func meshOf(p *Pass) Mesh {
	link := &p.desired.Link
	return Mesh{Link: link.Name, Hostname: p.local.Hostname, Address: p.identity.Address.Addr(), Port: link.ListenPort, MTU: link.MTU}
}

// Last returns the last turn. It does not wait for the one under way.
func (l *Loop) Last() Turn { return *l.last.Load() }

// endTurn makes the present state that of the last turn.
func (l *Loop) endTurn() {
	turn := Turn{At: time.Now(), Health: l.engine.health(), Config: l.config, Mesh: l.engine.mesh, Sessions: l.discovery.Sessions()}
	l.last.Store(&turn)
	if l.Turned != nil {
		l.Turned(turn)
	}
}
