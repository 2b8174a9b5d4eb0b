package reconciler_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func complete(affiliates ...mesh.Affiliate) reconciler.Knowledge {
	return reconciler.Knowledge{Affiliates: shared(affiliates), Complete: true}
}

// shared returns copies of affiliates, which the engine keeps.
func shared(affiliates []mesh.Affiliate) []*mesh.Affiliate {
	all := make([]*mesh.Affiliate, len(affiliates))
	for i, a := range affiliates {
		all[i] = &a
	}
	return all
}

func newEngine() (*reconciler.Engine, *fakeKernel, *resource.Store) {
	kernel, store := &fakeKernel{}, &resource.Store{}
	return reconciler.NewEngine(kernel, identify, store, discard()), kernel, store
}

func TestSecondPassHasNothingToDo(t *testing.T) {
	engine, kernel, _ := newEngine()
	engine.AlwaysInitiate = true
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	for i, want := range []int{14, 0, 0} {
		pass, err := engine.Run(t.Context(), start.Add(time.Duration(i)*time.Second), config(t, ""), known)
		if err != nil || len(pass.Plan) != want {
			t.Fatalf("pass %d: %d changes, want %d, %v\n%v", i+1, len(pass.Plan), want, err, pass.Plan)
		}
	}
	if len(kernel.all()) != 2 {
		t.Errorf("peers are %+v", kernel.all())
	}
}

func TestPlanChangesNothing(t *testing.T) {
	engine, kernel, store := newEngine()
	pass, err := engine.Plan(start, config(t, ""), complete(affiliate(1, "10.0.0.1:51820")))
	if err != nil || len(pass.Plan) == 0 {
		t.Fatalf("%v, %v", pass, err)
	}
	if kernel.applied != 0 || len(store.List(resource.Members)) != 0 {
		t.Error("a plan was applied or published")
	}
}

// TestEndpointOnTrialIsNoDifference has a peer that is down: that its next endpoint is due
// is no difference from the config.
func TestEndpointOnTrialIsNoDifference(t *testing.T) {
	engine, _, _ := newEngine()
	engine.AlwaysInitiate = true
	known := complete(affiliate(1, "10.0.0.1:51820", "10.0.0.1:51821"))
	if _, err := engine.Run(t.Context(), start, config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	later := start.Add(time.Minute)
	if pass, err := engine.Plan(later, config(t, ""), known); err != nil || len(pass.Plan) != 0 {
		t.Errorf("the plan is %v, %v", pass.Plan, err)
	}
	if pass, err := engine.Run(t.Context(), later, config(t, ""), known); err != nil || len(pass.Plan) != 1 || !setsEndpoint(pass.Plan[0]) {
		t.Errorf("the pass did %v, %v", pass.Plan, err)
	}
}

func TestNextPassRepeatsFailedChange(t *testing.T) {
	engine, kernel, _ := newEngine()
	engine.AlwaysInitiate = true
	known := complete(affiliate(1, "10.0.0.1:51820"))
	kernel.refuse = isChange[state.PeerChange]
	pass, err := engine.Run(t.Context(), start, config(t, ""), known)
	var partial *reconciler.ApplyError
	if !errors.As(err, &partial) || !errors.Is(err, errRefused) || len(partial.Result.Done) != 1 || len(partial.Result.NotDone) != len(pass.Plan)-1 {
		t.Fatalf("got %v", err)
	}
	kernel.refuse = nil
	if _, err := engine.Run(t.Context(), start.Add(time.Second), config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	// The endpoint is not lost with the change.
	if peers := kernel.all(); len(peers) != 1 || peers[0].Endpoint != netip.MustParseAddrPort("10.0.0.1:51820") {
		t.Errorf("peers are %+v", peers)
	}
}

func TestPeersAreKeptUntilDiscoveryAnswers(t *testing.T) {
	engine, kernel, _ := newEngine()
	both := []mesh.Affiliate{affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820")}
	if _, err := engine.Run(t.Context(), start, config(t, ""), complete(both...)); err != nil {
		t.Fatal(err)
	}
	restarted := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
	pass, err := restarted.Run(t.Context(), start.Add(time.Second), config(t, ""), reconciler.Knowledge{Affiliates: shared(both[:1])})
	if err != nil || len(kernel.all()) != 2 {
		t.Fatalf("before discovery answered, the pass did %v, %v", pass.Plan, err)
	}
	if _, err := restarted.Run(t.Context(), start.Add(2*time.Second), config(t, ""), complete(both[:1]...)); err != nil || len(kernel.all()) != 1 {
		t.Errorf("after discovery answered, peers are %+v, %v", kernel.all(), err)
	}
}

func TestHarvestHasUnlistedEndpointsOnly(t *testing.T) {
	engine, kernel, _ := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"), affiliate(3, "10.0.0.3:51820"))
	harvesting := config(t, "harvestExtraEndpoints: true")
	if _, err := engine.Run(t.Context(), start, harvesting, known); err != nil {
		t.Fatal(err)
	}
	roamed := netip.MustParseAddrPort("198.51.100.1:4242")
	kernel.edit(func(s *state.State) {
		for i := range s.Peers {
			switch s.Peers[i].PublicKey[0] {
			case 1: // up at an endpoint that it lists
				s.Peers[i].LastHandshake = start.Add(time.Second)
			case 2: // up at another endpoint
				s.Peers[i].LastHandshake, s.Peers[i].Endpoint = start.Add(time.Second), roamed
			}
		}
	})
	pass, err := engine.Run(t.Context(), start.Add(2*time.Second), harvesting, known)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]netip.AddrPort{affiliate(2).NodeID: {roamed}}
	if diff := cmp.Diff(want, pass.Harvested, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("harvested (-want +got):\n%s", diff)
	}
	if i := slices.IndexFunc(kernel.all(), func(p state.Peer) bool { return p.PublicKey[0] == 2 }); kernel.all()[i].Endpoint != roamed {
		t.Error("the endpoint of a peer that roamed was replaced")
	}
}

func TestDisabledMeshIsRemovedAndDiscoveryStays(t *testing.T) {
	engine, kernel, store := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"))
	if _, err := engine.Run(t.Context(), start, config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	pass, err := engine.Run(t.Context(), start.Add(time.Second), config(t, "enabled: false"), known)
	if err != nil {
		t.Fatal(err)
	}
	if kernel.live.Link.Name != "" || len(kernel.live.Rules) != 0 || kernel.live.Firewall.Table != "" {
		t.Errorf("left is %+v", kernel.live)
	}
	if !pass.Local.KubeSpan.IsZero() || pass.Local.NodeID == "" {
		t.Errorf("published is %+v", pass.Local)
	}
	if len(store.List(resource.PeerStatuses)) != 0 || len(store.List(resource.Identities)) != 0 || len(store.List(resource.Members)) != 2 {
		t.Error("resources of the removed mesh are left, or members are gone")
	}
}

func TestPublishedResources(t *testing.T) {
	engine, kernel, store := newEngine()
	clash := affiliate(2, "10.0.0.2:51820")
	clash.Addresses = affiliate(1).Addresses
	known := complete(affiliate(1, "10.0.0.1:51820"), clash)
	if _, err := engine.Run(t.Context(), start, config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	kernel.edit(func(s *state.State) { s.Peers[0].LastHandshake = start.Add(time.Second) })
	up := kernel.all()[0].PublicKey
	if _, err := engine.Run(t.Context(), start.Add(2*time.Second), config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	for _, r := range store.List(resource.PeerStatuses) {
		want := peer.Unknown
		if r.ID == up.String() {
			want = peer.Up
		}
		if got := r.Spec.(resource.PeerStatus).State; got != want {
			t.Errorf("%s is %s, want %s", r.ID, got, want)
		}
	}
	if endpoints := store.List(resource.Endpoints); len(endpoints) != 1 || endpoints[0].ID != up.String() {
		t.Errorf("endpoints are %+v", endpoints)
	}
	loser := store.List(resource.PeerSpecs)[1].Spec.(resource.PeerSpec)
	want := []resource.Claim{
		{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Kind: "own address", Owner: "name-b",
			Reason: "lost to name-b: it is up, the other unknown"},
		{Prefix: netip.PrefixFrom(clash.KubeSpan.Address, 128), Kind: "mesh address", Owner: "name-c"},
	}
	if diff := cmp.Diff(want, loser.Claims, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("the claims (-want +got):\n%s", diff)
	}
}

// up gives peers of the kernel a handshake and received data.
func up(now time.Time, keys ...byte) func(*state.State) {
	return func(s *state.State) {
		for i := range s.Peers {
			if slices.Contains(keys, s.Peers[i].PublicKey[0]) {
				s.Peers[i].LastHandshake = now
				s.Peers[i].ReceiveBytes += 100
			}
		}
	}
}

func TestDeviceOnlyPassesAreFollowedByAFullOne(t *testing.T) {
	engine, kernel, _ := newEngine()
	engine.AlwaysInitiate = true
	known := complete(affiliate(1, "10.0.0.1:51820"))
	known.Version = 1
	c := config(t, "")
	run := func(after time.Duration) *reconciler.Pass {
		t.Helper()
		pass, err := engine.RunFor(t.Context(), start.Add(after), c, known, reconciler.Trigger{DeviceOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return pass
	}
	run(0)
	run(time.Second)
	kernel.edit(func(s *state.State) { s.Rules, s.Peers = nil, nil })
	if pass := run(2 * time.Second); len(pass.Plan) != 1 || !isChange[state.PeerChange](pass.Plan[0]) {
		t.Errorf("a pass over peers only found %v", pass.Plan)
	}
	if pass := run(40 * time.Second); len(pass.Plan) != 3 || !isChange[state.RuleChange](pass.Plan[0]) {
		t.Errorf("the full pass found %v", pass.Plan)
	}
}

func TestSilentPeersAreProbed(t *testing.T) {
	engine, kernel, _ := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	c := config(t, "")
	for _, second := range []int{0, 1, 30, 60} {
		now := start.Add(time.Duration(second) * time.Second)
		if _, err := engine.Run(t.Context(), now, c, known); err != nil {
			t.Fatal(err)
		}
		kernel.edit(up(now, 1))
		if second == 0 {
			kernel.edit(up(now.Add(time.Millisecond), 1, 2))
		}
	}
	silent := affiliate(2).KubeSpan
	want := peer.Probe{Peer: silent.PublicKey, Address: silent.Address}
	liveness := slices.DeleteFunc(slices.Clone(kernel.probed), func(p peer.Probe) bool { return p.EchoOnly })
	if !slices.Equal(liveness, []peer.Probe{want}) {
		t.Errorf("probed were %v, want %v", kernel.probed, want)
	}
}

// TestRepliesAreShown has two of three peers answer an echo.
func TestRepliesAreShown(t *testing.T) {
	engine, kernel, store := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"), affiliate(3, "10.0.0.3:51820"))
	c := config(t, "")
	for second := range 3 {
		now := start.Add(time.Duration(second) * time.Second)
		kernel.edit(up(now, 1, 2, 3))
		if second == 2 {
			kernel.replies = []peer.Reply{{Peer: mesh.Key{1}, RTT: time.Millisecond}, {Peer: mesh.Key{3}, RTT: 3 * time.Millisecond}, {Peer: mesh.Key{4}}}
		}
		if _, err := engine.Run(t.Context(), now, c, known); err != nil {
			t.Fatal(err)
		}
	}
	if len(kernel.probed) != 3 || !kernel.probed[0].EchoOnly {
		t.Errorf("%v were sent, want one measuring echo to each peer", kernel.probed)
	}
	for i, want := range []time.Duration{time.Millisecond, 0, 3 * time.Millisecond} {
		if s := store.List(resource.PeerStatuses)[i].Spec.(resource.PeerStatus); s.RTT != resource.Duration(want) {
			t.Errorf("the round-trip time of peer %d is %v, want %v", i+1, s.RTT, want)
		}
	}
}

// TestFilteredProbes has this machine's firewall drop the probes to one of two peers, and then none.
func TestFilteredProbes(t *testing.T) {
	engine, kernel, store := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	c := config(t, "")
	for second := range 90 {
		now := start.Add(time.Duration(second) * time.Second)
		kernel.edit(up(now, 1, 2))
		kernel.probeFault = nil
		if second < 40 {
			kernel.probeFault = fmt.Errorf("2 probes: %w", errors.Join(errors.New("another fault"),
				fmt.Errorf("echo: %w", &peer.FilteredError{Peer: mesh.Key{2}, Err: syscall.EPERM})))
		}
		if _, err := engine.Run(t.Context(), now, c, known); err != nil {
			t.Fatal(err)
		}
		named := slices.ContainsFunc(store.List(resource.Conditions), func(r resource.Resource) bool {
			c := r.Spec.(resource.Condition)
			return c.Code == string(condition.TunnelFiltered) && strings.Contains(c.Cause, "drops the echoes to")
		})
		if second == 39 && !named || second == 89 && named {
			t.Errorf("after %d seconds: named is %v", second, named)
		}
	}
}

func TestRelayCarriesUnreachablePeer(t *testing.T) {
	engine, kernel, store := newEngine()
	relay, lost := affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820", "10.0.0.3:51820")
	relay.KubeSpan.Relay = true
	lost.KubeSpan.Relays = []mesh.Key{relay.KubeSpan.PublicKey}
	known, c := complete(relay, lost), config(t, "relay: use: true")
	var pass *reconciler.Pass
	for second := range 40 {
		now := start.Add(time.Duration(second) * time.Second)
		var err error
		if pass, err = engine.Run(t.Context(), now, c, known); err != nil {
			t.Fatal(err)
		}
		kernel.edit(up(now.Add(time.Millisecond), 1))
	}
	peers := kernel.all()
	slices.SortFunc(peers, func(a, b state.Peer) int { return a.PublicKey.Compare(b.PublicKey) })
	if len(peers[0].AllowedIPs) != 4 || len(peers[1].AllowedIPs) != 0 {
		t.Errorf("peers are %+v", peers)
	}
	if want := []mesh.Key{relay.KubeSpan.PublicKey}; !slices.Equal(pass.Local.KubeSpan.Relays, want) {
		t.Errorf("relays published as reached are %v", pass.Local.KubeSpan.Relays)
	}
	if s := store.List(resource.PeerStatuses)[1].Spec.(resource.PeerStatus); s.Relay != relay.Nodename || s.State != peer.Up {
		t.Errorf("the status is %+v", s)
	}
	kernel.edit(up(start.Add(41*time.Second), 2))
	if _, err := engine.Run(t.Context(), start.Add(42*time.Second), c, known); err != nil {
		t.Fatal(err)
	}
	for _, p := range kernel.all() {
		if len(p.AllowedIPs) != 2 {
			t.Errorf("after the peer came up, %v has %v", p.PublicKey, p.AllowedIPs)
		}
	}
}

func TestNewKeyKeepsLastGoodEndpoint(t *testing.T) {
	engine, kernel, _ := newEngine()
	before := affiliate(1, "10.0.0.1:51820", "10.0.0.2:51820")
	c := config(t, "")
	if _, err := engine.Run(t.Context(), start, c, complete(before)); err != nil {
		t.Fatal(err)
	}
	roamed := netip.MustParseAddrPort("198.51.100.1:4242")
	kernel.edit(func(s *state.State) { s.Peers[0].Endpoint = roamed })
	kernel.edit(up(start.Add(time.Second), 1))
	if _, err := engine.Run(t.Context(), start.Add(2*time.Second), c, complete(before)); err != nil {
		t.Fatal(err)
	}
	after := before
	after.KubeSpan.PublicKey = mesh.Key{200}
	if _, err := engine.Run(t.Context(), start.Add(3*time.Second), c, complete(after)); err != nil {
		t.Fatal(err)
	}
	if peers := kernel.all(); len(peers) != 1 || peers[0].PublicKey != after.KubeSpan.PublicKey || peers[0].Endpoint != roamed {
		t.Errorf("peers are %+v", peers)
	}
}

func TestBlockingConditionsPreventANewMeshOnly(t *testing.T) {
	engine, kernel, store := newEngine()
	kernel.live.Conditions = []condition.Condition{{Code: condition.TableTaken, Cause: "table 180 is taken", Remedy: "use another", Blocking: true}}
	if _, err := engine.Run(t.Context(), start, config(t, ""), complete()); err == nil || kernel.applied != 0 {
		t.Errorf("%d changes, %v", kernel.applied, err)
	}
	kernel.live.Conditions = nil
	if _, err := engine.Run(t.Context(), start, config(t, ""), complete()); err != nil {
		t.Fatal(err)
	}
	kernel.edit(func(s *state.State) {
		s.Conditions = []condition.Condition{{Code: condition.TableTaken, Cause: "table 180 is taken", Remedy: "use another", Blocking: true}}
	})
	for range 2 {
		if _, err := engine.Run(t.Context(), start, config(t, ""), complete()); err != nil {
			t.Errorf("with a mesh that exists: %v", err)
		}
	}
	counts := map[string]int{}
	for _, r := range store.List(resource.EventType) {
		event := r.Spec.(resource.Event)
		counts[event.Reason] += event.Count
	}
	if diff := cmp.Diff(map[string]int{"TableTaken": 2, "Cleared": 1}, counts); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if shown := store.List(resource.Conditions); len(shown) != 1 || shown[0].ID != "TableTaken" {
		t.Errorf("conditions are %+v", shown)
	}
}

func TestAddressInALinksNetworkIsACondition(t *testing.T) {
	engine, kernel, store := newEngine()
	kernel.links = []mesh.Link{{Name: "eth0", MTU: 1500, Networks: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}}}
	for _, address := range []string{"10.98.0.1/24", "10.99.1.1/32", "10.99.0.1/24"} {
		if events := store.List(resource.EventType); len(events) > 0 {
			t.Fatalf("events before %s are %+v", address, events)
		}
		if _, err := engine.Run(t.Context(), start, config(t, fmt.Sprintf("addresses: [%q]", address)), complete()); err != nil {
			t.Fatal(err)
		}
	}
	events := store.List(resource.EventType)
	if len(events) != 1 {
		t.Fatalf("events are %+v", events)
	}
	e := events[0].Spec.(resource.Event)
	if e.Reason != string(condition.MeshAddressOnLink) || !strings.Contains(e.Message, "the link eth0 is attached to") {
		t.Errorf("the event is %+v", e)
	}
}

func TestHarvestIsSharedInALargeMesh(t *testing.T) {
	engine, kernel, _ := newEngine()
	var all []mesh.Affiliate
	for n := range byte(200) {
		all = append(all, affiliate(n+1, "10.0.0.1:51820"))
	}
	c := config(t, "harvestExtraEndpoints: true")
	known := complete(all...)
	if _, err := engine.Run(t.Context(), start, c, known); err != nil {
		t.Fatal(err)
	}
	kernel.edit(func(s *state.State) {
		for i := range s.Peers {
			s.Peers[i].LastHandshake, s.Peers[i].ReceiveBytes = start.Add(time.Second), 100
			s.Peers[i].Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, s.Peers[i].PublicKey[0]}), 1)
		}
	})
	for _, step := range []struct {
		second   int
		min, max int
	}{{2, 1, 30}, {300, 200, 200}} {
		pass, err := engine.Run(t.Context(), start.Add(time.Duration(step.second)*time.Second), c, known)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(pass.Harvested); n < step.min || n > step.max {
			t.Errorf("after %d s, %d of 200 endpoints are published, want %d to %d", step.second, n, step.min, step.max)
		}
		kernel.edit(func(s *state.State) {
			for i := range s.Peers {
				s.Peers[i].LastHandshake = start.Add(299 * time.Second)
				s.Peers[i].ReceiveBytes++
			}
		})
	}
}

// TestNextPassRecoversFromAnyFailure lets each change fail in turn, while the mesh is made,
// changed and removed. The pass reports what was not done, and the next one does it.
func TestNextPassRecoversFromAnyFailure(t *testing.T) {
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	fewer := complete(affiliate(1, "10.0.0.1:51820"))
	for _, c := range []struct {
		name           string
		before, after  string
		knownThen, now reconciler.Knowledge
	}{
		{"made", "enabled: false", "", known, known},
		{"changed", "", "mtu: 1300, listenPort: 4000, fwmark: 0x100, persistentKeepalive: 5", known, fewer},
		{"removed", "", "enabled: false", known, known},
	} {
		t.Run(c.name, func(t *testing.T) {
			for step := 0; ; step++ {
				engine, kernel, _ := newEngine()
				engine.AlwaysInitiate = true
				if _, err := engine.Run(t.Context(), start, config(t, c.before), c.knownThen); err != nil {
					t.Fatal(err)
				}
				left := step
				kernel.refuse = func(state.Change) bool { left--; return left < 0 }
				pass, err := engine.Run(t.Context(), start.Add(time.Second), config(t, c.after), c.now)
				if err == nil {
					if step < 4 {
						t.Errorf("only %d steps", step)
					}
					return
				}
				if len(pass.Result.Done) != step || len(pass.Result.NotDone) != len(pass.Plan)-step {
					t.Errorf("step %d: %v", step, err)
				}
				kernel.refuse = nil
				if _, err := engine.Run(t.Context(), start.Add(2*time.Second), config(t, c.after), c.now); err != nil {
					t.Fatal(err)
				}
				if pass, err := engine.Run(t.Context(), start.Add(3*time.Second), config(t, c.after), c.now); err != nil || len(pass.Plan) > 0 {
					t.Errorf("step %d: left is %v, %v", step, pass.Plan, err)
				}
			}
		})
	}
}

// stillKernel has the same state all the time.
type stillKernel struct {
	fakeKernel
	shown state.State
}

func (k *stillKernel) Observe(state.Scope) (state.State, error) { return k.shown, nil }

func (k *stillKernel) Device(state.Scope) (state.Link, []state.Peer, error) {
	return k.shown.Link, k.shown.Peers, nil
}

func (k *stillKernel) Apply(_ context.Context, _ state.Scope, plan state.Plan) state.Result {
	return state.Result{Done: plan}
}

// manyAffiliates returns n affiliates with an address and a network each.
func manyAffiliates(n int) []mesh.Affiliate {
	all := make([]mesh.Affiliate, n)
	for i := range all {
		a := affiliate(0)
		a.NodeID, a.Nodename = fmt.Sprintf("node-%d", i), fmt.Sprintf("name-%d", i)
		binary.BigEndian.PutUint32(a.KubeSpan.PublicKey[:], uint32(i+1))
		address := a.KubeSpan.Address.As16()
		binary.BigEndian.PutUint32(address[12:], uint32(i+1))
		v4 := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		a.KubeSpan.Address, a.Addresses = netip.AddrFrom16(address), []netip.Addr{v4}
		a.KubeSpan.AdditionalAddresses = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(i>>12), byte(i >> 4), byte(i << 4)}), 28)}
		a.KubeSpan.Endpoints = []netip.AddrPort{netip.AddrPortFrom(v4, 51820)}
		all[i] = a
	}
	slices.SortFunc(all, func(a, b mesh.Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	return all
}

// variantsOf returns two lists of affiliates, of which the first ones have different networks; if changes is
// negative, the second lacks the first one.
func variantsOf(all []*mesh.Affiliate, changes int) (variants [2][]*mesh.Affiliate) {
	for v := range variants {
		variants[v] = slices.Clone(all)
		for i := range changes {
			changed := *all[i]
			variants[v][i] = &changed
			a := &changed.KubeSpan
			a.AdditionalAddresses = append(a.AdditionalAddresses[:1:1], netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + v), byte(i), 0}), 24))
		}
	}
	if changes < 0 {
		variants[1] = variants[1][1:]
	}
	return variants
}

// BenchmarkPass measures passes without a kernel: what an agent computes. With 5,000 peers, of-target is the part of
// the target that a pass takes: at most 1 where that is met.
func BenchmarkPass(b *testing.B) {
	c := config(b, "")
	for _, n := range []int{100, 1000, 5000} {
		made := &fakeKernel{}
		known := complete(manyAffiliates(n)...)
		known.Version = 1
		if _, err := reconciler.NewEngine(made, identify, &resource.Store{}, discard()).Run(b.Context(), start, c, known); err != nil {
			b.Fatal(err)
		}
		kernel := &stillKernel{shown: made.live}
		kernel.shown.Normalize()
		for i := range kernel.shown.Peers {
			p := &kernel.shown.Peers[i]
			p.LastHandshake, p.ReceiveBytes, p.Keepalive = start.Add(time.Second), 100, 25*time.Second
		}
		for _, run := range []struct {
			name    string
			changes int
			o       reconciler.Trigger
			// target is what the pass is to take with 5,000 peers.
			target time.Duration
		}{
			{"unchanged", 0, reconciler.Trigger{}, time.Millisecond},
			{"device-only", 0, reconciler.Trigger{DeviceOnly: true}, time.Millisecond},
			{"changed=1", 1, reconciler.Trigger{}, 2 * time.Millisecond},
			{"changed=100", 100, reconciler.Trigger{}, 10 * time.Millisecond},
			{"left=1", -1, reconciler.Trigger{}, 5 * time.Millisecond},
		} {
			b.Run(fmt.Sprintf("%s/peers=%d", run.name, n), func(b *testing.B) {
				engine := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
				engine.AlwaysInitiate = true
				known := known
				pass := func(want int) {
					b.Helper()
					pass, err := engine.RunFor(b.Context(), start.Add(3*time.Second), c, known, run.o)
					if err != nil || len(pass.Plan) != want {
						b.Fatalf("%d changes, want %d, %v", len(pass.Plan), want, err)
					}
				}
				pass(0)
				want := run.changes
				if want > 0 {
					want++ // the networks of the peers, and one change of those that are routed
				}
				variants := variantsOf(known.Affiliates, run.changes)
				step := func() {
					if run.changes != 0 {
						known.Version++
						known.Affiliates = variants[known.Version%2]
					}
					if run.changes < 0 {
						want = 2 * int(known.Version%2) // of a peer that has left, and of its networks
					}
					pass(want)
				}
				for range 4 {
					step() // the first passes are over all peers
				}
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
				if n == 5000 {
					b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(run.target), "of-target")
				}
			})
		}
	}
}
