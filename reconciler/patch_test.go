package reconciler_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
)

// TestChangeIsAsIfOverAll has one affiliate of several change, where that concerns more than its spec.
func TestChangeIsAsIfOverAll(t *testing.T) {
	const own, near = "198.51.100.1:51820", "198.51.102.1:51820"
	described := affiliate(1, "203.0.113.9:51820")
	described.NodeID, described.Static = mesh.StaticID("one"), true
	for _, c := range []struct {
		name     string
		settings string
		static   []mesh.Affiliate
		change   func(*mesh.Affiliate)
	}{
		{"the config describes it too", "", []mesh.Affiliate{described}, func(a *mesh.Affiliate) { a.Hostname = "other" }},
		{"the config describes another", "",
			[]mesh.Affiliate{{NodeID: mesh.StaticID("other"), Static: true, KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{9}}}},
			func(a *mesh.Affiliate) { a.Hostname = "other" }},
		{"its endpoints change the link's MTU", `mtu: "auto"`, nil, func(a *mesh.Affiliate) {
			a.KubeSpan.Endpoints = []netip.AddrPort{netip.MustParseAddrPort(own), netip.MustParseAddrPort(near)}
		}},
		{"it comes to know relays", "", nil, func(a *mesh.Affiliate) { a.KubeSpan.KnowsRelays = true }},
		{"it names an endpoint as a relay's", "", nil, func(a *mesh.Affiliate) { a.KubeSpan.RelayEndpoints = a.KubeSpan.Endpoints }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &history{now: start, config: config(t, c.settings)}
			h.known = complete(append(slices.Clone(c.static), affiliate(1, own), affiliate(2, "198.51.100.2:51820"))...)
			slices.SortFunc(h.known.Affiliates, func(a, b *mesh.Affiliate) int { return byNodeID(a, b.NodeID) })
			reference, engine := newTwin(), newTwin()
			for pass := range 9 {
				h.known.Version = uint64(1 + pass/8)
				if pass == 8 {
					h.known.Affiliates = slices.Clone(h.known.Affiliates)
					at := slices.IndexFunc(h.known.Affiliates, func(a *mesh.Affiliate) bool { return a.NodeID == affiliate(1).NodeID })
					changed := *h.known.Affiliates[at]
					c.change(&changed)
					h.known.Affiliates[at] = &changed
				}
				for _, w := range []*twin{reference, engine} {
					answer(w.kernel)
				}
				h.now = h.now.Add(time.Duration(9-pass) * time.Second)
				reference.PassOverAll()
				want, got := reference.pass(h), engine.pass(h)
				for name := range want {
					if !reflect.DeepEqual(want[name], got[name]) {
						t.Errorf("pass %d: %s differs (-want +got):\n%s", pass, name, cmp.Diff(fmt.Sprintf("%+v", want[name]), fmt.Sprintf("%+v", got[name])))
					}
				}
			}
		})
	}
}

// answer has all peers make a handshake, and answer the echoes that they were sent.
func answer(k *fakeKernel) {
	for i := range k.live.Peers {
		k.live.Peers[i].LastHandshake = start.Add(10 * time.Second)
		k.live.Peers[i].ReceiveBytes = max(180, k.live.Peers[i].ReceiveBytes)
	}
	k.replies = nil
	for _, p := range k.probed {
		i := slices.IndexFunc(k.live.Peers, func(l state.Peer) bool { return l.PublicKey == p.Peer })
		k.live.Peers[i].ReceiveBytes += 124
		k.replies = append(k.replies, peer.Reply{Peer: p.Peer, RTT: time.Millisecond})
	}
	k.probed = nil
	slices.SortFunc(k.replies, func(a, b peer.Reply) int { return a.Peer.Compare(b.Peer) })
}

// TestPlanOfANewEngine plans before the first pass, with a peer that does not get all that it claims.
func TestPlanOfANewEngine(t *testing.T) {
	engine, _, _ := newEngine()
	greedy := affiliate(1, "198.51.100.1:51820")
	greedy.KubeSpan.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	pass, err := engine.Plan(start, config(t, ""), complete(greedy))
	if err != nil || len(pass.Plan) == 0 || len(pass.Conditions) == 0 {
		t.Errorf("the plan is %v, the conditions are %v, %v", pass.Plan, pass.Conditions, err)
	}
}

// TestMistakesDoNotLast has the engine remember something that is not so.
func TestMistakesDoNotLast(t *testing.T) {
	h := &history{now: start, config: config(t, ""), known: complete(affiliate(1, "198.51.100.1:51820"), affiliate(2, "198.51.100.2:51820"))}
	h.known.Version = 1
	engine := newTwin()
	endpoints := func(after time.Duration) int {
		h.now = h.now.Add(after)
		engine.pass(h)
		return len(engine.Specs()[0].Endpoints)
	}
	if endpoints(time.Second) == 0 {
		t.Fatal("the peer has no endpoints")
	}
	engine.Specs()[0].Endpoints = nil
	if endpoints(2*time.Minute) != 0 {
		t.Fatal("nothing was mistaken")
	}
	if endpoints(10*time.Minute) == 0 {
		t.Error("the mistake has lasted")
	}
}

// TestTheLastPeerLeaves has a mesh of two machines, of which the other one leaves and comes back.
func TestTheLastPeerLeaves(t *testing.T) {
	h := &history{now: start, config: config(t, ""), known: complete(affiliate(1, "198.51.100.1:51820"))}
	engine := newTwin()
	pass := func(affiliates ...mesh.Affiliate) {
		h.known = complete(affiliates...)
		h.known.Version = uint64(1 + len(affiliates))
		for range 8 {
			answer(engine.kernel)
			h.now = h.now.Add(time.Second)
			engine.pass(h)
		}
		if n := len(engine.Connections()); n != len(affiliates) {
			t.Errorf("there are %d connections to %d peers", n, len(affiliates))
		}
	}
	pass(affiliate(1, "198.51.100.1:51820"))
	pass()
	pass(affiliate(1, "198.51.100.1:51820"))
}
