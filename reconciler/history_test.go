package reconciler_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// twin is one of two engines that see the same.
type twin struct {
	*reconciler.Engine
	kernel *fakeKernel
	store  *resource.Store
	paths  []reconciler.Path
}

func newTwin() *twin {
	w := &twin{kernel: &fakeKernel{}, store: &resource.Store{}}
	w.Engine = reconciler.NewEngine(w.kernel, identify, w.store, discard())
	w.PathChanged = func(p reconciler.Path) { w.paths = append(w.paths, p) }
	return w
}

// pass does a pass and returns all that it has led to.
func (w *twin) pass(h *history) map[string]any {
	w.paths = nil
	p, err := w.RunFor(context.Background(), h.now, h.config, h.known, h.trigger)
	got := map[string]any{"error": fmt.Sprint(err)}
	if p != nil {
		w.Probe(p)
		got["plan"], got["desired"], got["conditions"], got["local"], got["harvested"] = p.Plan, p.Desired(), p.Conditions, p.Local, p.Harvested
		got["next"], got["same"], got["probes"] = p.NextCheck, p.Same, p.Probes()
	}
	got["paths"], got["health"], got["probing"], got["live"] = w.paths, w.Health(h.now), w.Probing(), w.kernel.state()
	for _, t := range resource.Types {
		got[t.Name] = w.store.List(t)
	}
	got["shown"] = w.Statuses()
	return got
}

// history changes what a machine sees at random.
type history struct {
	*rand.Rand
	now     time.Time
	config  *schema.Config
	known   reconciler.Knowledge
	trigger reconciler.Trigger
	configs []*schema.Config
	// calm is set where machines neither join nor leave, nor become others.
	calm bool
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 2)), now: start, calm: seed%2 == 0}
	for _, settings := range []string{"", "allowDownPeerBypass: true", "relay: use: true", "harvestExtraEndpoints: true", "persistentKeepalive: 0", "enabled: false"} {
		h.configs = append(h.configs, config(t, settings))
	}
	h.config = h.configs[h.IntN(len(h.configs)-1)]
	h.known.Complete, h.known.Version = true, 1
	for n := range byte(20) {
		h.known.Affiliates = append(h.known.Affiliates, affiliate(n+1, fmt.Sprintf("198.51.100.%d:51820", n+1), fmt.Sprintf("198.51.101.%d:51820", n+1)))
	}
	return h
}

// next lets some time pass, in which something happens. It returns what happens in the kernel.
func (h *history) next() (edits []func(*fakeKernel)) {
	h.now = h.now.Add(time.Duration(h.IntN(3000)) * time.Millisecond)
	h.trigger = reconciler.Trigger{DeviceOnly: h.IntN(3) > 0, NetworkChanged: h.IntN(60) == 0}
	switch h.IntN(80) {
	case 0:
		h.now = h.now.Add(time.Duration(h.IntN(300)) * time.Second)
	case 1:
		h.config = h.configs[h.IntN(len(h.configs))]
	case 2:
		h.trigger.ClockStep = time.Duration(h.IntN(200)-100) * time.Second
		h.now = h.now.Add(h.trigger.ClockStep)
	case 4:
		links := []mesh.Link{{Name: "eth0", MTU: 1500 - h.IntN(2), Networks: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(8 * h.IntN(3))}), 29)}}}
		edits = append(edits, func(k *fakeKernel) { k.links = links })
	case 3:
		h.known.Complete = !h.known.Complete
		h.known.Version++
	}
	if h.IntN(8) == 0 || h.calm && h.IntN(3) == 0 {
		h.learn()
	}
	moved, roamed, gone, fails := h.IntN(6), h.IntN(100) == 0, h.IntN(150) == 0, h.IntN(80) == 0
	seed := h.Uint64()
	return append(edits, func(k *fakeKernel) {
		r := rand.New(rand.NewPCG(seed, 3))
		k.refuse = nil
		if left := r.IntN(4); fails {
			k.refuse = func(state.Change) bool { left--; return left < 0 }
		}
		k.edit(func(s *state.State) {
			s.Normalize()
			h.traffic(r, k, s, moved)
			if len(s.Peers) == 0 {
				return
			}
			p := &s.Peers[r.IntN(len(s.Peers))]
			if roamed {
				p.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(9))}), 4242)
			}
			if gone {
				s.Peers = slices.Delete(s.Peers, 0, 1)
			}
		})
	})
}

// traffic has some peers exchange packets, and all of them make handshakes.
func (h *history) traffic(r *rand.Rand, k *fakeKernel, s *state.State, moved int) {
	k.replies = nil
	for i := range s.Peers {
		p := &s.Peers[i]
		age := h.now.Sub(p.LastHandshake)
		asked := slices.ContainsFunc(k.probed, func(x peer.Probe) bool { return x.Peer == p.PublicKey })
		silent := p.PublicKey[0]%4 == 3 && h.now.Minute()%4 >= 2
		if !p.Endpoint.IsValid() || silent || !asked && age < time.Duration(60+r.IntN(120))*time.Second && r.IntN(20) >= moved {
			continue
		}
		if age > time.Minute {
			p.LastHandshake = h.now
		}
		p.ReceiveBytes, p.TransmitBytes = p.ReceiveBytes+124, p.TransmitBytes+124
		if asked && r.IntN(20) > 0 {
			k.replies = append(k.replies, peer.Reply{Peer: p.PublicKey, RTT: time.Duration(r.IntN(50)) * time.Millisecond})
		}
	}
	k.probed = nil
}

// learn changes what discovery knows.
func (h *history) learn() {
	h.known.Version++
	all := slices.Clone(h.known.Affiliates)
	n := byte(h.IntN(30) + 1)
	at, found := slices.BinarySearchFunc(all, affiliate(n).NodeID, byNodeID)
	what := h.IntN(14)
	if h.calm {
		n = n%20 + 1
		at, found = slices.BinarySearchFunc(all, affiliate(n).NodeID, byNodeID)
		what = []int{1, 1, 2, 2, 3, 4, 5, 9, 10, 11, 13}[h.IntN(11)]
	}
	switch {
	case !found:
		all = slices.Insert(all, at, affiliate(n, fmt.Sprintf("198.51.100.%d:51820", n)))
	case what == 0:
		all = slices.Delete(all, at, at+1)
	default:
		h.change(&all[at], what, n)
	}
	h.known.Affiliates = all
}

func byNodeID(a mesh.Affiliate, id string) int { return strings.Compare(a.NodeID, id) }

// change changes an affiliate.
func (h *history) change(a *mesh.Affiliate, what int, n byte) {
	network := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(h.IntN(40)), 0}), 24)
	k := &a.KubeSpan
	switch what {
	case 1:
		k.AdditionalAddresses = append(slices.Clip(k.AdditionalAddresses), network)
	case 2:
		k.AdditionalAddresses = nil
	case 3:
		k.AdditionalAddresses = []netip.Prefix{netip.PrefixFrom(network.Addr(), 20)}
	case 4:
		k.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), uint16(51820+h.IntN(3)))}
	case 5:
		a.Addresses = append(slices.Clip(a.Addresses), netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(20))}))
	case 6:
		a.Nodename = affiliate(byte(h.IntN(20) + 1)).Nodename
	case 7:
		k.PublicKey = mesh.Key{n, byte(h.IntN(3))}
	case 8:
		k.Address = affiliate(byte(h.IntN(20) + 1)).KubeSpan.Address
	case 9:
		k.Relay, k.Relays = true, []mesh.Key{{1}, {2}, {3}}
	case 10:
		k.Probes, a.Version = !k.Probes, fmt.Sprint(h.IntN(3))
	case 11:
		k.Endpoints = append(slices.Clip(k.Endpoints), netip.MustParseAddrPort("0.0.0.0:1"))
	case 12:
		*a = affiliate(n, fmt.Sprintf("198.51.100.%d:51820", n))
	default:
		k.ExcludeAdvertisedNetworks = []netip.Prefix{network}
	}
}

// TestPassesAreAsIfOverAll has two engines see the same random histories. The passes of one of them work on
// all peers each time.
func TestPassesAreAsIfOverAll(t *testing.T) {
	for seed := range uint64(6) {
		h := newHistory(t, seed)
		reference, engine := newTwin(), newTwin()
		for pass := range 300 {
			edits := h.next()
			plan := h.IntN(30) == 0
			for _, w := range []*twin{reference, engine} {
				for _, edit := range edits {
					edit(w.kernel)
				}
				if plan {
					_, _ = w.Plan(h.now, h.config, h.known)
				}
			}
			reference.PassOverAll()
			want, got := reference.pass(h), engine.pass(h)
			for name := range want {
				if !reflect.DeepEqual(want[name], got[name]) {
					t.Fatalf("seed %d, pass %d: %s differs (-want +got):\n%s\n%s", seed, pass, name, fmt.Sprintf("-%+v\n+%+v", want[name], got[name]), cmp.Diff(fmt.Sprintf("%+v", want[name]), fmt.Sprintf("%+v", got[name])))
				}
			}
		}
	}
}
