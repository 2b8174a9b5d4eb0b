package simulated

import (
	"context"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// handshakeEvery is the time between two handshakes of a tunnel in use (WireGuard paper,
	// section 6.1: Rekey-After-Time).
	handshakeEvery = 2 * time.Minute
	// keepaliveEvery is KubeSpan's keepalive interval, and keepaliveBytes the size of one as
	// WireGuard counts it.
	keepaliveEvery = 25 * time.Second
	keepaliveBytes = 32
	// initiationBytes and responseBytes are the sizes of the messages of a handshake.
	initiationBytes = 148
	responseBytes   = 92
	// roundTrip is what echoes through the tunnels take.
	roundTrip = time.Millisecond
)

// kernel is the network of a machine in memory. It implements reconciler.Kernel.
type kernel struct {
	host mesh.Host

	mu sync.Mutex
	// live is all but the peers.
	live state.State
	// tunnels are the peers, sorted by key.
	tunnels []tunnel
	// read is the last list that Device returned.
	read []state.Peer
	// answered are the echoes that were not fetched.
	answered []peer.Reply
	// known are the machines that are peers.
	known Set
	// numbers has the numbers of the keys of machines.
	numbers func(mesh.Key) int
}

// tunnel is a peer, and when it was made.
type tunnel struct {
	state.Peer
	since time.Time
}

func compareTunnels(a, b tunnel) int { return a.PublicKey.Compare(b.PublicKey) }

func newKernel(h mesh.Host, numbers func(mesh.Key) int) *kernel {
	return &kernel{host: h, numbers: numbers}
}

// Host implements reconciler.Kernel.
func (k *kernel) Host(string, mesh.LinkChoice) (mesh.Host, error) { return k.host, nil }

// Observe implements reconciler.Kernel.
func (k *kernel) Observe(state.Scope) (state.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	live := k.live
	live.Peers = k.appendPeers(make([]state.Peer, 0, len(k.tunnels)), time.Now())
	return live, nil
}

// Device implements reconciler.Kernel. The list holds until the next call, as that of netlinkapply.
func (k *kernel) Device(state.Scope) (state.Link, []state.Peer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read = k.appendPeers(k.read[:0], time.Now())
	return k.live.Link, k.read, nil
}

// appendPeers appends the peers as they are at a time. k.mu is held.
func (k *kernel) appendPeers(to []state.Peer, now time.Time) []state.Peer {
	for _, t := range k.tunnels {
		age := now.Sub(t.since)
		handshakes, keepalives := int64(age/handshakeEvery), int64(age/keepaliveEvery)
		t.LastHandshake = now.Add(-age % handshakeEvery).Round(0)
		t.ReceiveBytes = (handshakes+1)*responseBytes + keepalives*keepaliveBytes
		t.TransmitBytes = (handshakes+1)*initiationBytes + keepalives*keepaliveBytes
		to = append(to, t.Peer)
	}
	return to
}

// Trace implements reconciler.Kernel. No way is known.
func (k *kernel) Trace(paths []state.Path) []state.Way { return make([]state.Way, len(paths)) }

// Restart implements reconciler.Kernel.
func (k *kernel) Restart(context.Context, state.Scope) error { return nil }

// ClearSources implements reconciler.Kernel.
func (k *kernel) ClearSources(state.Scope) error { return nil }

// Probe implements reconciler.Kernel. Each echo is answered.
func (k *kernel) Probe(_ context.Context, _ state.Scope, probes []peer.Probe) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range probes {
		k.answered = append(k.answered, peer.Reply{Peer: p.Peer, RTT: roundTrip})
	}
	return nil
}

// Replies implements reconciler.Kernel.
func (k *kernel) Replies() []peer.Reply {
	k.mu.Lock()
	defer k.mu.Unlock()
	replies := k.answered
	k.answered = nil
	slices.SortFunc(replies, func(a, b peer.Reply) int { return a.Peer.Compare(b.Peer) })
	return slices.CompactFunc(replies, func(a, b peer.Reply) bool { return a.Peer == b.Peer })
}

// Apply implements reconciler.Kernel.
func (k *kernel) Apply(_ context.Context, _ state.Scope, plan state.Plan) state.Result {
	k.mu.Lock()
	defer k.mu.Unlock()
	var made []tunnel
	for _, c := range plan {
		if ofPeer, is := c.(state.PeerChange); is {
			made = k.changePeer(ofPeer, made)
		} else {
			k.change(c)
			k.live.Normalize()
		}
	}
	k.tunnels = append(k.tunnels, made...)
	if len(made) > 0 {
		slices.SortFunc(k.tunnels, compareTunnels)
	}
	return state.Result{Done: plan}
}

// change makes a change of anything but a peer.
func (k *kernel) change(c state.Change) {
	gone := c.Action() == state.Delete
	switch c := c.(type) {
	case state.LinkChange:
		k.live.Link = c.New
		if gone {
			k.live, k.tunnels = state.State{}, nil
			k.known.Clear()
		}
	case state.AddressChange:
		k.live.Addresses = replace(k.live.Addresses, c.Old.Prefix, c.New.Prefix, gone)
	case state.RouteChange:
		k.live.Routes = replace(k.live.Routes, c.Old, c.New, gone)
	case state.RuleChange:
		k.live.Rules = replace(k.live.Rules, c.Old, c.New, gone)
	case state.FirewallChange:
		k.live.Firewall = c.New
	case state.NetworksChange:
		k.live.Firewall.Networks = slices.DeleteFunc(slices.Concat(k.live.Firewall.Networks, c.Added), containedIn(c.Removed))
		k.live.Firewall.Guard.Networks = k.live.Firewall.Networks
	}
}

// containedIn returns a function that reports whether a list has a value.
func containedIn[T comparable](list []T) func(T) bool {
	return func(v T) bool { return slices.Contains(list, v) }
}

// replace puts after in the place of before.
func replace[T comparable](list []T, before, after T, gone bool) []T {
	list = slices.DeleteFunc(slices.Clone(list), func(v T) bool { return v == before })
	if gone {
		return list
	}
	return append(list, after)
}

// changePeer makes a change of a peer. It appends new ones to made.
func (k *kernel) changePeer(c state.PeerChange, made []tunnel) []tunnel {
	next := tunnel{c.New, time.Now().Round(0)}
	next.Redirect, next.Renew, next.Label = false, false, ""
	if c.Action() == state.Delete {
		next.Peer = c.Old
	}
	i, found := slices.BinarySearchFunc(k.tunnels, next, compareTunnels)
	number := k.numbers(next.PublicKey)
	switch {
	case c.Action() == state.Delete:
		if found {
			k.tunnels = slices.Delete(k.tunnels, i, i+1)
		}
		k.known.Remove(number)
	case found:
		k.tunnels[i].Peer = next.Peer
	default:
		k.known.Add(number)
		made = append(made, next)
	}
	return made
}

// compare compares the peers with all machines but one.
func (k *kernel) compare(all *Set, but int) (lacks, extra bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known.Compare(all, but)
}

// size returns how many bytes the peers take. They are not the agent's.
func (k *kernel) size() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return cap(k.tunnels)*int(unsafe.Sizeof(tunnel{})) + cap(k.read)*int(unsafe.Sizeof(state.Peer{}))
}
