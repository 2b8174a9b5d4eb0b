package reconciler_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/schema"
)

// running is a loop that runs in a synctest bubble, with what it works on.
type running struct {
	*reconciler.Loop
	store    *resource.Store
	kernel   *fakeKernel
	registry *fakeRegistry
}

// withLoop runs a test with a running loop. The test advances the clock by sleeping.
func withLoop(t *testing.T, test func(t *testing.T, r *running)) {
	t.Helper()
	withLoopOf(t, func(*reconciler.Engine) {}, test)
}

// withLoopOf is withLoop with an engine that is prepared.
func withLoopOf(t *testing.T, prepare func(*reconciler.Engine), test func(t *testing.T, r *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &running{store: &resource.Store{}, kernel: &fakeKernel{}, registry: &fakeRegistry{}}
		engine := reconciler.NewEngine(r.kernel, identify, r.store, discard())
		prepare(engine)
		r.Loop = reconciler.NewLoop(engine, discovery(r.registry.driver("fake"), static.Driver()), discard())
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		test(t, r)
		stop()
		<-done
		if _, err := r.Down(t.Context()); !errors.Is(err, reconciler.ErrStopped) {
			t.Errorf("after Run has ended: %v, want ErrStopped", err)
		}
	})
}

func TestChangesAreCollectedIntoOnePass(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		before := r.kernel.passes()
		for n := range byte(20) {
			r.registry.learn(affiliate(n+1, "10.0.0.1:51820"))
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if passes := r.kernel.passes() - before; passes != 1 {
			t.Errorf("%d passes for 20 changes, want 1", passes)
		}
		if peers := r.kernel.all(); len(peers) != 1 || peers[0].PublicKey[0] != 20 {
			t.Errorf("peers are %+v", peers)
		}
	})
}

func TestIdleMeshIsOnlyPolled(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		before := r.kernel.passes()
		time.Sleep(10 * peer.IdleInterval)
		synctest.Wait()
		if passes := r.kernel.passes() - before; passes > 11 {
			t.Errorf("%d passes in ten intervals without a peer", passes)
		}
		if r.kernel.applied != 12 {
			t.Errorf("%d changes were made, want the 12 that set up the mesh", r.kernel.applied)
		}
	})
}

func TestFailedPassIsRepeatedWithGrowingPauses(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		r.kernel.refuse = isChange[state.LinkChange]
		began := time.Now()
		if _, err := r.SetConfig(t.Context(), config(t, "")); !errors.Is(err, errRefused) {
			t.Fatalf("got %v", err)
		}
		// The second pass follows at once, for what the registries know. The next ones
		// follow after 2, 4, 8 and 16 seconds, and then every 30 seconds.
		for _, step := range []struct {
			until  time.Duration
			passes int
		}{{time.Second, 2}, {3 * time.Second, 3}, {7 * time.Second, 4}, {15 * time.Second, 5}, {31 * time.Second, 6}, {331 * time.Second, 16}} {
			time.Sleep(step.until - time.Since(began))
			synctest.Wait()
			if n := r.kernel.passes(); n != step.passes {
				t.Errorf("%d passes in %v, want %d", n, step.until, step.passes)
			}
		}
		r.kernel.edit(func(*state.State) { r.kernel.refuse = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if r.kernel.state().Link.Name == "" {
			t.Error("the next pass did not set up the link")
		}
	})
}

func TestExternalChangeIsReverted(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.kernel.edit(func(s *state.State) { s.Rules = nil })
		if pass, err := r.Diff(t.Context(), nil, nil); err != nil || len(pass.Plan) != 3 {
			t.Errorf("the difference is %v, %v", pass, err)
		}
		r.Wake(reconciler.KernelChanged)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if len(r.kernel.state().Rules) != 3 {
			t.Errorf("rules are %v", r.kernel.state().Rules)
		}
	})
}

// A deleted table is repaired without a delay, but for repeated repairs.
func TestDeletedTableIsRepairedAtOnce(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		repaired := func() bool {
			synctest.Wait()
			r.kernel.edit(func(s *state.State) { s.Firewall = state.Firewall{} })
			r.Wake(reconciler.KernelChanged | reconciler.TableDeleted)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			return r.kernel.state().Firewall.Table != ""
		}
		for i := range 6 {
			if !repaired() {
				t.Fatalf("repair %d was not done at once", i+1)
			}
		}
		if repaired() {
			t.Error("a repair was done at once after many in a row")
		}
	})
}

func TestRegistryIsReopenedWithOtherSettings(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		here := config(t, "")
		there := *here
		there.Cluster.Discovery.Registries.Service.Endpoint = "http://127.0.0.1:2"
		elsewhere := there
		elsewhere.Cluster.ID = "another"
		none := elsewhere
		none.Cluster.Discovery.Registries.Service.Disabled = true
		for _, step := range []struct {
			name   string
			config *schema.Config
			want   [3]int
		}{
			{"the first config", here, [3]int{1, 0, 1}},
			{"another MTU", config(t, "mtu: 1400"), [3]int{1, 0, 1}},
			{"another mark: reopened without leaving", config(t, "fwmark: 0x100"), [3]int{2, 0, 1}},
			{"another endpoint: left and reopened", &there, [3]int{3, 1, 1}},
			{"another cluster: left and reopened", &elsewhere, [3]int{4, 2, 1}},
			{"disabled: left", &none, [3]int{4, 3, 0}},
		} {
			if same, err := r.SameDiscovery(t.Context(), step.config); err != nil || same != (step.name == "another MTU") {
				t.Errorf("%s: same discovery: %v, %v", step.name, same, err)
			}
			if _, err := r.SetConfig(t.Context(), step.config); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			synctest.Wait()
			if got := r.registry.counts(); got != step.want {
				t.Errorf("%s: opened, left, running %v, want %v", step.name, got, step.want)
			}
		}
	})
}

func TestDownStaysDownUntilTheNextConfig(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.Down(t.Context()); !errors.Is(err, reconciler.ErrNoConfig) {
			t.Errorf("down without a config: %v", err)
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Down(t.Context()); err != nil || r.registry.counts() != [3]int{1, 1, 0} {
			t.Errorf("down: %v, opened, left, running %v", err, r.registry.counts())
		}
		if _, err := r.Down(t.Context()); err != nil || r.registry.counts() != [3]int{1, 1, 0} {
			t.Errorf("down again: %v, opened, left, running %v", err, r.registry.counts())
		}
		r.Wake(reconciler.InputChanged)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if r.kernel.state().Link.Name != "" {
			t.Error("the mesh came back by itself")
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil || r.kernel.state().Link.Name == "" {
			t.Errorf("the mesh did not come back: %v", err)
		}
	})
}

func TestOldInterfaceIsRemovedWhenItsNameChanges(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SetConfig(t.Context(), config(t, `interfaceName: "wg7"`)); err != nil {
			t.Fatal(err)
		}
		if r.kernel.state().Link.Name != "wg7" || r.kernel.state().Routes[0].Link != "wg7" {
			t.Errorf("the kernel has %+v", r.kernel.state())
		}
	})
}

// A request is served while the loop collects changes.
func TestRequestsAreServedWhileChangesAreCollected(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		r.Wake(reconciler.InputChanged)
		synctest.Wait()
		began := time.Now()
		if _, err := r.Diff(t.Context(), nil, nil); err != nil || time.Since(began) != 0 {
			t.Errorf("took %v, %v", time.Since(began), err)
		}
	})
}

// Another program removes the rules again and again.
func TestRepeatedRepairsAreReportedAndSlowDown(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		r.registry.learn(affiliate(1, "10.0.0.1:51820"))
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		repaired := func(within time.Duration) bool {
			t.Helper()
			synctest.Wait()
			r.kernel.edit(func(s *state.State) { s.Rules = nil })
			r.Wake(reconciler.KernelChanged)
			time.Sleep(within)
			synctest.Wait()
			return len(r.kernel.state().Rules) == 3
		}
		for i := range 6 {
			if !repaired(100 * time.Millisecond) {
				t.Fatalf("repair %d was not done at once", i+1)
			}
		}
		if repaired(500 * time.Millisecond) {
			t.Error("a repair was done at once after many in a row")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.kernel.state().Rules) != 3 {
			t.Error("the repair was not done at all")
		}
		reasons := map[string]int{}
		for _, e := range r.store.List(resource.EventType) {
			reasons[e.Spec.(resource.Event).Reason] += e.Spec.(resource.Event).Count
		}
		if reasons["Repaired"] != 21 || reasons["RepeatedRepairs"] != 1 {
			t.Errorf("events are %v", reasons)
		}
		time.Sleep(2 * time.Minute)
		if !repaired(100 * time.Millisecond) {
			t.Error("after a quiet period, a repair was not done at once")
		}
	})
}

// The machine gets another address.
func TestNetworkChangeIsPassedToRegistries(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if r.registry.networks != 0 {
			t.Errorf("%d network changes passed on, want none", r.registry.networks)
		}
		r.kernel.edit(func(*state.State) { r.kernel.address = netip.MustParseAddr("10.0.0.200") })
		if _, err := r.Diff(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		r.Wake(reconciler.KernelChanged)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if r.registry.networks != 1 || r.registry.published[len(r.registry.published)-1].Addresses[0] != r.kernel.address {
			t.Errorf("%d network changes passed on, want 1; published is %+v", r.registry.networks, r.registry.published)
		}
	})
}

// The machine's only link goes down and comes back. Peers that were told of no address in between would send
// to the machine in clear.
func TestNothingLessIsPublishedWithoutNetwork(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		offline := func(links ...mesh.OfflineLink) {
			r.kernel.edit(func(*state.State) { r.kernel.offline = links })
			r.Wake(reconciler.KernelChanged)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		offline()
		offline(mesh.OfflineLink{Name: "eth0", Why: mesh.LinkDown})
		r.registry.learn(affiliate(1, "10.0.0.1:51820"))
		time.Sleep(time.Second)
		offline(mesh.OfflineLink{Name: "eth0", Why: mesh.NoAddress})
		offline()
		if r.registry.networks == 0 {
			t.Error("the registries were not told of the network")
		}
		if len(r.registry.published) == 0 {
			t.Error("nothing was published")
		}
		for _, local := range r.registry.published {
			if len(local.Addresses) == 0 || len(local.KubeSpan.Endpoints) == 0 {
				t.Errorf("this was published: %+v", local)
			}
		}
	})
}

// A machine whose only known link is down may have another way to the others, which is not announced.
func TestMachineWithoutAddressesIsPublished(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		r.kernel.edit(func(*state.State) { r.kernel.offline = []mesh.OfflineLink{{Name: "card0", Why: mesh.LinkDown}} })
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(r.registry.published) == 0 {
			t.Error("nothing was published")
		}
	})
}

func TestStaticPeersNeedNoOtherRegistry(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		alone := *config(t, "")
		alone.Cluster.Discovery.Registries.Service.Disabled = true
		alone.Cluster.Discovery.Registries.Static.Peers = []schema.StaticPeer{{Name: "phone", PublicKey: schema.StaticKey{7},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.7.0.1/32")}}}
		if _, err := r.SetConfig(t.Context(), &alone); err != nil || r.registry.changed != nil {
			t.Errorf("the other registry was opened, or %v", err)
		}
		if peers := r.kernel.all(); len(peers) != 1 || !peers[0].PresharedKey.IsZero() {
			t.Errorf("peers are %+v", peers)
		}
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil || len(r.kernel.all()) != 0 {
			t.Errorf("peers are %+v, %v", r.kernel.all(), err)
		}
	})
}

// TestFailingPassIsNotTriedAgainForItsOwnChanges has a pass that fails and changes the kernel each
// time, which wakes the loop.
func TestFailingPassIsNotTriedAgainForItsOwnChanges(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		tries := 0
		r.kernel.mu.Lock()
		r.kernel.refuse = func(state.Change) bool {
			tries++
			r.Wake(reconciler.KernelChanged)
			return true
		}
		r.kernel.mu.Unlock()
		if _, err := r.SetConfig(t.Context(), config(t, "")); err == nil {
			t.Fatal("the pass has succeeded")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.kernel.mu.Lock()
		defer r.kernel.mu.Unlock()
		if tries < 10 || tries > 30 {
			t.Errorf("%d tries in a minute", tries)
		}
		r.kernel.refuse = nil
	})
}
