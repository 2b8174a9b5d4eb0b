package peer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// history changes what a tracker sees at random.
type history struct {
	*rand.Rand
	now time.Time
	in  Input
	// asked are the peers that were sent an echo.
	asked map[mesh.Key]bool
}

func newHistory(seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 1)), now: start}
	h.in = Input{Self: mesh.Key{20}, KeepalivesOff: h.IntN(3) == 0, Contested: map[mesh.Key]bool{}, ProbeNow: map[mesh.Key]bool{}, Filtered: map[mesh.Key]bool{}}
	for n := range byte(40) {
		h.join(n + 1)
	}
	return h
}

func (h *history) join(n byte) {
	own := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 51820)
	h.in.Specs = append(slices.Clone(h.in.Specs), mesh.PeerSpec{PublicKey: mesh.Key{n}, NodeID: fmt.Sprint(n), Endpoints: []netip.AddrPort{own, one},
		Addresses: []netip.Addr{own.Addr()}, Probes: n%2 == 0})
	slices.SortFunc(h.in.Specs, func(a, b mesh.PeerSpec) int { return a.PublicKey.Compare(b.PublicKey) })
	h.in.Observed = append(slices.Clone(h.in.Observed), Observed{Key: mesh.Key{n}, Present: true, Endpoint: own, LastHandshake: h.now, ReceiveBytes: 1000})
	slices.SortFunc(h.in.Observed, func(a, b Observed) int { return a.Key.Compare(b.Key) })
}

// next lets some time pass, in which something happens to some peers. It reports by how much the clock was set.
func (h *history) next() (step time.Duration) {
	h.now = h.now.Add(time.Duration(h.IntN(4000)) * time.Millisecond)
	h.in.NetworkChanged = h.IntN(100) == 0
	h.in.Before, h.in.Left, h.in.Joined, h.in.Changed = nil, nil, nil, nil
	clear(h.in.ProbeNow)
	h.in.Observed = slices.Clone(h.in.Observed)
	for i := range h.in.Observed {
		o := &h.in.Observed[i]
		o.Replied, o.RTT = false, 0
		if o.Present && (h.asked[o.Key] && h.IntN(30) > 0 || h.now.Sub(o.LastHandshake) > time.Duration(100+h.IntN(100))*time.Second) {
			o.Replied, o.RTT = h.asked[o.Key], time.Duration(h.IntN(50))*time.Millisecond
			o.LastHandshake, o.ReceiveBytes, o.TransmitBytes = h.now, o.ReceiveBytes+124, o.TransmitBytes+124
		}
	}
	for range h.IntN(4) / 2 {
		h.happen(&h.in.Observed[h.IntN(len(h.in.Observed))])
	}
	switch h.IntN(100) {
	case 0:
		h.now = h.now.Add(time.Duration(h.IntN(200)) * time.Second)
	case 1:
		step = time.Duration(h.IntN(7200)-3600) * time.Second
		h.now = h.now.Add(step)
	case 2:
		at := h.IntN(len(h.in.Specs))
		h.in.Before, h.in.Left = h.in.Specs, []int{at}
		h.in.Specs, h.in.Observed = slices.Delete(slices.Clone(h.in.Specs), at, at+1), slices.Delete(h.in.Observed, at, at+1)
	case 3:
		if n := byte(h.IntN(200) + 41); !slices.ContainsFunc(h.in.Specs, func(s mesh.PeerSpec) bool { return s.PublicKey == mesh.Key{n} }) {
			h.in.Before = h.in.Specs
			h.join(n)
			at := slices.IndexFunc(h.in.Specs, func(s mesh.PeerSpec) bool { return s.PublicKey == mesh.Key{n} })
			h.in.Joined, h.in.Changed = []int{at}, []int{at}
		}
	case 4:
		h.in.Specs = slices.Clone(h.in.Specs)
		s := &h.in.Specs[h.IntN(len(h.in.Specs))]
		s.Endpoints = append(slices.Clip(s.Endpoints), netip.AddrPortFrom(s.Endpoints[0].Addr(), uint16(h.IntN(9)+1)))
	case 5:
		h.in.Specs = slices.Clone(h.in.Specs)
		h.in.Specs[h.IntN(len(h.in.Specs))].Addresses = []netip.Addr{two.Addr()}
	default:
		h.relate(h.IntN(60))
	}
	return step
}

// relate changes what relays, paths and others show of a peer.
func (h *history) relate(what int) {
	key := h.in.Specs[h.IntN(len(h.in.Specs))].PublicKey
	switch what {
	case 0:
		if h.in.Contested[key] = h.IntN(3) == 0; !h.in.Contested[key] {
			clear(h.in.Contested)
		}
	case 1:
		h.in.ProbeNow[key] = true
	case 2:
		if h.in.Filtered[key] = h.IntN(3) == 0; !h.in.Filtered[key] {
			clear(h.in.Filtered)
		}
	case 3:
		h.in.Paths = nil
		if h.in.Probing = h.IntN(2) == 0; h.in.Probing {
			h.in.Paths = []mesh.Path{{Peer: key, Endpoint: two}}
		}
	case 4:
		h.in.Registered, h.in.Relays = nil, nil
		if h.IntN(2) == 0 {
			relay := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(h.IntN(40))}), 51820)
			h.in.Registered = []BlindRelay{{Key: mesh.Key{250}, Endpoint: relay}}
			h.in.Relays = []mesh.BlindRelay{{Key: mesh.Key{250}, Endpoints: []netip.AddrPort{relay}}}
		}
	}
}

// happen has something happen to what WireGuard shows of a peer.
func (h *history) happen(o *Observed) {
	switch h.IntN(12) {
	case 0:
		o.LastHandshake = h.now.Add(-time.Duration(h.IntN(2000)) * time.Millisecond)
	case 1:
		o.ReceiveBytes += []int64{32, 148, 1000}[h.IntN(3)]
	case 2:
		o.TransmitBytes += []int64{32, 148, 1000}[h.IntN(3)]
	case 3:
		o.Replied, o.RTT, o.ReceiveBytes = true, time.Duration(h.IntN(50))*time.Millisecond, o.ReceiveBytes+124
	case 4:
		if h.IntN(4) == 0 {
			o.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(h.IntN(40))}), 51820)
		}
	case 5:
		if h.IntN(8) == 0 {
			o.Present = !o.Present
			o.ReceiveBytes, o.TransmitBytes, o.LastHandshake = 0, 0, time.Time{}
		}
	default:
		o.LastHandshake, o.ReceiveBytes, o.TransmitBytes = h.now, o.ReceiveBytes+124, o.TransmitBytes+124
	}
}

// awake returns connections with the times of the last reading.
func awake(t *Tracker, next Connections) Connections {
	next = slices.Clone(next)
	if t.pending.all {
		return next
	}
	stepped, rests := t.pending.stepped, t.rests
	if t.pending.moved != nil {
		rests = t.pending.moved
	}
	for i := range next {
		if len(stepped) > 0 && stepped[0] == i {
			stepped = stepped[1:]
			continue
		}
		next[i].catchUp(&rests[i], t.pending.now)
	}
	return next
}

// TestPeersAtRestAreAsIfStepped has two trackers see the same random histories. One of them steps all peers
// each time.
func TestPeersAtRestAreAsIfStepped(t *testing.T) {
	atRest, moved, all := 0, 0, 0
	for seed := range uint64(20) {
		h := newHistory(seed)
		var tracker, reference Tracker
		for pass := range 300 {
			step := h.next()
			tracker.Shift(step)
			reference.Shift(step)
			reference.StepAll()
			want, got := reference.Next(h.now, h.in), tracker.Next(h.now, h.in)
			if stepped, whole := tracker.Stepped(); !whole {
				atRest += len(got) - len(stepped)
				if h.in.Before != nil {
					moved++
				}
			}
			all += len(got)
			h.asked = map[mesh.Key]bool{}
			for _, c := range want {
				h.asked[c.Key] = c.Action.Probe || c.Action.Measure
			}
			if same := awake(&tracker, got); !reflect.DeepEqual(want, same) {
				i := slices.IndexFunc(want, func(c Connection) bool { return !reflect.DeepEqual(c, *same.Find(c.Key, 0)) })
				t.Fatalf("seed %d, pass %d: peer %d is\n%+v, want\n%+v", seed, pass, i, same[i], want[i])
			}
			if h.IntN(20) == 0 {
				continue // nobody commits it
			}
			notDone := map[mesh.Key]bool{}
			for range h.IntN(9) / 8 * 3 {
				notDone[h.in.Specs[h.IntN(len(h.in.Specs))].PublicKey] = true
			}
			wantMoved, wantGood := reference.Commit(want, notDone)
			gotMoved, gotGood := tracker.Commit(got, notDone)
			key := func(tr Transition) mesh.Key { return tr.After.Key }
			if !slices.EqualFunc(wantMoved, gotMoved, func(a, b Transition) bool { return key(a) == key(b) }) || wantGood != gotGood || !reflect.DeepEqual(reference.LastGood(), tracker.LastGood()) {
				t.Fatalf("seed %d, pass %d: moved are %v, %v, want %v, %v", seed, pass, len(gotMoved), gotGood, len(wantMoved), wantGood)
			}
		}
	}
	if share := 100 * atRest / all; share < 20 || moved < 20 {
		t.Errorf("%d %% of the peers were at rest, and peers joined or left beside these %d times: the test shows little", share, moved)
	}
}
