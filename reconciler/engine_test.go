package reconciler_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/link"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func complete(affiliates ...mesh.Affiliate) reconciler.Knowledge {
	return reconciler.Knowledge{Affiliates: affiliates, Complete: true}
}

func newEngine() (*reconciler.Engine, *fakeKernel, *resource.Store) {
	kernel, store := &fakeKernel{}, &resource.Store{}
	return reconciler.NewEngine(kernel, identify, store, discard()), kernel, store
}

func TestSecondPassHasNothingToDo(t *testing.T) {
	engine, kernel, _ := newEngine()
	engine.AlwaysBegins = true
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	for i, want := range []int{10, 0, 0} {
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
	pass, err := engine.Plan(t.Context(), start, config(t, ""), complete(affiliate(1, "10.0.0.1:51820")))
	if err != nil || len(pass.Plan) == 0 {
		t.Fatalf("%v, %v", pass, err)
	}
	if kernel.applied != 0 || len(store.List(resource.Members)) != 0 {
		t.Error("a plan was carried out or shown")
	}
}

// TestEndpointOnTrialIsNoDifference has a peer that is down: its next endpoint
// is the agent's work, not a difference from the config.
func TestEndpointOnTrialIsNoDifference(t *testing.T) {
	engine, _, _ := newEngine()
	engine.AlwaysBegins = true
	known := complete(affiliate(1, "10.0.0.1:51820", "10.0.0.1:51821"))
	if _, err := engine.Run(t.Context(), start, config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	later := start.Add(time.Minute)
	if pass, err := engine.Plan(t.Context(), later, config(t, ""), known); err != nil || len(pass.Plan) != 0 {
		t.Errorf("the plan is %v, %v", pass.Plan, err)
	}
	if pass, err := engine.Run(t.Context(), later, config(t, ""), known); err != nil || len(pass.Plan) != 1 || !pass.Plan[0].Has("endpoint") {
		t.Errorf("the pass did %v, %v", pass.Plan, err)
	}
}

func TestFailedChangeIsDoneByTheNextPass(t *testing.T) {
	engine, kernel, _ := newEngine()
	engine.AlwaysBegins = true
	known := complete(affiliate(1, "10.0.0.1:51820"))
	kernel.refuse = func(c state.Change) bool { return c.Object.Kind() == "peer" }
	pass, err := engine.Run(t.Context(), start, config(t, ""), known)
	var partial *reconciler.ApplyError
	if !errors.As(err, &partial) || !errors.Is(err, errRefused) || len(partial.Result.Done) != 1 || len(partial.Result.NotDone) != len(pass.Plan)-1 {
		t.Fatalf("got %v", err)
	}
	kernel.refuse = nil
	if _, err := engine.Run(t.Context(), start.Add(time.Second), config(t, ""), known); err != nil {
		t.Fatal(err)
	}
	// The endpoint of the peer that was not made is set with it, not lost.
	if peers := kernel.all(); len(peers) != 1 || peers[0].Endpoint != netip.MustParseAddrPort("10.0.0.1:51820") {
		t.Errorf("peers are %+v", peers)
	}
}

func TestTunnelsAreKeptUntilDiscoveryIsHeard(t *testing.T) {
	engine, kernel, _ := newEngine()
	both := []mesh.Affiliate{affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820")}
	if _, err := engine.Run(t.Context(), start, config(t, ""), complete(both...)); err != nil {
		t.Fatal(err)
	}
	restarted := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
	pass, err := restarted.Run(t.Context(), start.Add(time.Second), config(t, ""), reconciler.Knowledge{Affiliates: both[:1]})
	if err != nil || len(kernel.all()) != 2 {
		t.Fatalf("before discovery was heard, the pass did %v, %v", pass.Plan, err)
	}
	if _, err := restarted.Run(t.Context(), start.Add(2*time.Second), config(t, ""), complete(both[:1]...)); err != nil || len(kernel.all()) != 1 {
		t.Errorf("after discovery was heard, peers are %+v, %v", kernel.all(), err)
	}
}

func TestHarvestTellsOnlyWhatIsNotListed(t *testing.T) {
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
			case 1: // up, where it says it is
				s.Peers[i].LastHandshake = start.Add(time.Second)
			case 2: // up, elsewhere
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
		t.Error("an endpoint that roamed was written over")
	}
}

func TestDisabledRemovesAllButStillDiscovers(t *testing.T) {
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
		t.Error("what is shown is not what is there")
	}
}

func TestWhatIsShown(t *testing.T) {
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
		want := link.Unknown
		if r.ID == up.String() {
			want = link.Up
		}
		if got := r.Spec.(resource.PeerStatus).State; got != want {
			t.Errorf("%s is %s, want %s", r.ID, got, want)
		}
	}
	if endpoints := store.List(resource.Endpoints); len(endpoints) != 1 || endpoints[0].ID != up.String() {
		t.Errorf("endpoints are %+v", endpoints)
	}
	loser := store.List(resource.PeerSpecs)[1].Spec.(resource.PeerSpec)
	if loser.Overlap != "addresses from 10.0.0.1 belong to "+(mesh.Key{1}).String() {
		t.Errorf("the overlap is %q", loser.Overlap)
	}
}
