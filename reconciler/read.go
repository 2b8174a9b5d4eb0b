package reconciler

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// fullReadInterval is how long a full reading of the kernel holds: changes that the
// kernel does not report are repaired after this time at the latest.
const fullReadInterval = 30 * time.Second

// overAllInterval is the time after which a pass works on all peers: what those between have missed,
// if anything, does not last.
const overAllInterval = 10 * time.Minute

// read starts a pass: it reads the kernel and gathers the peers.
func (e *Engine) read(now time.Time, config *schema.Config, known Knowledge, t Trigger) (*Pass, state.State, error) {
	p := &Pass{Scope: state.ScopeOf(config.KubeSpan()), NextCheck: peer.IdleInterval, overAll: e.overAll}
	p.Scope.FormerLink = e.formerLink
	live, ok, err := e.readDevice(now, p.Scope, config, known, t)
	if ok {
		p.gathered, p.Local = *e.gathered, e.gathered.local
		return p, live, nil
	}
	if err == nil {
		live, err = e.kernel.Observe(p.Scope)
	}
	if err != nil {
		return nil, live, fmt.Errorf("read the kernel's state: %w", err)
	}
	last := live
	last.Peers = nil // readDevice reads them
	e.lastRead, e.lastReadAt, p.whole = &last, now, true
	if now.Sub(e.overAllAt) >= overAllInterval && !e.planning {
		e.overAllAt, p.overAll = now, true
	}
	if config.KubeSpan().Enabled || config.Cluster.Discovery.Enabled {
		err = e.gather(p, config, known, live.Peers)
	}
	return p, live, err
}

// readDevice returns the last full reading with the present settings and peers of the
// device, if the trigger allows it and that reading still holds. Its error is that of a
// device that does not answer: a full reading would wait for it again.
func (e *Engine) readDevice(now time.Time, scope state.Scope, config *schema.Config, known Knowledge, t Trigger) (live state.State, ok bool, err error) {
	if !t.DeviceOnly || e.lastRead == nil || now.Sub(e.lastReadAt) >= fullReadInterval || e.drops.isDue(now) || e.lastRead.Link.Name == "" ||
		e.gathered == nil || !e.gathered.holds(config, known) {
		return live, false, nil
	}
	device, peers, err := e.kernel.Device(scope)
	if isUnresponsive(err) {
		return live, false, err
	}
	if err != nil {
		return live, false, nil // the full reading returns the error
	}
	live = *e.lastRead
	live.Peers = peers
	live.Link.PrivateKey, live.Link.ListenPort, live.Link.FirewallMark = device.PrivateKey, device.ListenPort, device.FirewallMark
	return live, true, nil
}
