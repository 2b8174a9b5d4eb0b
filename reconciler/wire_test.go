package reconciler_test

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

// wireKernel is a fakeKernel whose WireGuard has others to talk to: handshakes, keepalives and answers to
// echoes. What passes follows from the time since it was last looked at.
type wireKernel struct {
	fakeKernel

	wire    sync.Mutex
	remotes map[mesh.Key]*remote
	// echoes counts the echoes that were sent, and reads has the times of the readings.
	echoes int
	reads  []time.Time
}

// remote is the machine of a peer.
type remote struct {
	at    netip.AddrPort
	alive bool
	// called is when this machine last called it in vain, and kept when it last sent a keepalive.
	called, kept time.Time
}

const (
	wireRekey     = 2 * time.Minute
	wireCall      = 5 * time.Second
	wireKeepalive = 25 * time.Second
)

// remote adds a machine, or changes it.
func (k *wireKernel) remote(key mesh.Key, at string, alive bool) {
	k.wire.Lock()
	defer k.wire.Unlock()
	if k.remotes == nil {
		k.remotes = map[mesh.Key]*remote{}
	}
	if k.remotes[key] == nil {
		k.remotes[key] = &remote{}
	}
	r := k.remotes[key]
	r.at, r.alive, r.kept = netip.MustParseAddrPort(at), alive, time.Time{}
}

// leave takes a machine away.
func (k *wireKernel) leave(key mesh.Key) {
	k.wire.Lock()
	defer k.wire.Unlock()
	delete(k.remotes, key)
}

// pass lets pass what has passed until now.
func (k *wireKernel) pass() {
	k.wire.Lock()
	defer k.wire.Unlock()
	now := time.Now().Round(0)
	k.reads = append(k.reads, now)
	k.edit(func(s *state.State) {
		for i := range s.Peers {
			if r := k.remotes[s.Peers[i].PublicKey]; r != nil {
				r.pass(now, &s.Peers[i])
			}
		}
	})
}

// pass has the machine and this one do what their WireGuard does by itself.
func (r *remote) pass(now time.Time, p *state.Peer) {
	if r.alive && now.Sub(r.kept) >= wireKeepalive && !p.LastHandshake.IsZero() {
		r.kept, p.Endpoint = now, r.at // it roams
		p.ReceiveBytes += 32
	}
	switch {
	case r.alive && p.Endpoint == r.at && now.Sub(p.LastHandshake) >= wireRekey:
		p.LastHandshake = now
		p.ReceiveBytes += 92
		p.TransmitBytes += 148
	case now.Sub(p.LastHandshake) >= wireRekey && now.Sub(r.called) >= wireCall && p.Endpoint.IsValid():
		r.called = now
		p.TransmitBytes += 148
	}
}

// Observe implements Kernel.
func (k *wireKernel) Observe(scope state.Scope) (state.State, error) {
	k.pass()
	return k.fakeKernel.Observe(scope)
}

// Device implements Kernel.
func (k *wireKernel) Device(scope state.Scope) (state.Link, []state.Peer, error) {
	k.pass()
	return k.fakeKernel.Device(scope)
}

// Probe implements Kernel. Those who are there answer at once.
func (k *wireKernel) Probe(_ context.Context, _ state.Scope, probes []peer.Probe) error {
	k.wire.Lock()
	defer k.wire.Unlock()
	k.echoes += len(probes)
	k.edit(func(s *state.State) {
		for _, probe := range probes {
			for i := range s.Peers {
				p, r := &s.Peers[i], k.remotes[probe.Peer]
				if p.PublicKey != probe.Peer {
					continue
				}
				p.TransmitBytes += 124
				if r != nil && r.alive && p.Endpoint == r.at {
					p.ReceiveBytes += 124
					k.replies = append(k.replies, peer.Reply{Peer: p.PublicKey, RTT: time.Millisecond})
				}
			}
		}
	})
	return nil
}

// counts returns the readings since the last call, and how many echoes were sent and changes made meanwhile.
func (k *wireKernel) since() (reads []time.Time, echoes, applied int) {
	k.wire.Lock()
	defer k.wire.Unlock()
	reads, echoes = k.reads, k.echoes
	k.reads, k.echoes = nil, 0
	k.edit(func(*state.State) { applied, k.applied, k.probed = k.applied, 0, nil })
	return reads, echoes, applied
}
