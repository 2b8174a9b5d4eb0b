package reconciler_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// settled runs a test with a loop whose mesh has a peer and is as the config asks.
func settled(t *testing.T, test func(t *testing.T, r *running)) {
	t.Helper()
	withLoop(t, func(t *testing.T, r *running) {
		r.registry.learn(affiliate(1, "10.0.0.1:51820"))
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		test(t, r)
	})
}

// after waits for a time and for what it brought about.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fight has another program remove the rules until repairs are held back.
func (r *running) fight() {
	for len(r.kernel.state().Rules) > 0 {
		r.kernel.edit(func(s *state.State) { s.Rules = nil })
		r.Wake(reconciler.KernelChanged)
		after(100 * time.Millisecond)
	}
}

// exhaust fights until the pause between repairs is longer than ten seconds.
func (r *running) exhaust() {
	for range 4 {
		r.fight()
		for len(r.kernel.state().Rules) == 0 {
			after(time.Second)
		}
	}
	r.fight()
}

// conditions returns the conditions that last, as text, but for that of the peers: none of the
// fake kernel's ever answers.
func (r *running) conditions() string {
	var b strings.Builder
	for _, c := range r.store.List(resource.Conditions) {
		if c.ID != string(condition.UDPBlocked) {
			b.WriteString(c.ID + "\n")
		}
	}
	return b.String()
}

func TestNewsDoesNotWaitForRepairs(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		rules := len(r.kernel.state().Rules)
		r.exhaust()
		r.registry.learn(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
		after(60 * time.Millisecond)
		if n := len(r.kernel.all()); n != 2 {
			t.Errorf("%d peers, want 2", n)
		}
		if len(r.kernel.state().Rules) != rules {
			t.Error("the pass for the news did not repair")
		}
		if got := r.conditions(); !strings.Contains(got, "RepeatedRepairs/rule ") {
			t.Errorf("conditions are %q", got)
		}
		after(2 * time.Minute)
		if got := r.conditions(); got != "" {
			t.Errorf("after a quiet period, conditions are %q", got)
		}
	})
}

// The program removes the rules without any wake by the kernel: the timer finds out.
func TestRepairsAreHeldBackOnEveryWake(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		rules := len(r.kernel.state().Rules)
		r.exhaust()
		passes := r.kernel.passes()
		after(3 * time.Second)
		if r.kernel.passes() == passes {
			t.Error("nothing was read while repairs were held back")
		}
		if len(r.kernel.state().Rules) != 0 {
			t.Error("the timer repaired what is held back")
		}
		after(30 * time.Second)
		if len(r.kernel.state().Rules) != rules {
			t.Error("the rules were not restored")
		}
	})
}

// While the rules are fought over, something else is changed once.
func TestOtherObjectsAreRepairedDuringAFight(t *testing.T) {
	for name, edit := range map[string]func(*state.State){
		"the mark":    func(s *state.State) { s.Link.FirewallMark = 0 },
		"a peer":      func(s *state.State) { s.Peers = nil },
		"the routes":  func(s *state.State) { s.Routes = nil },
		"the address": func(s *state.State) { s.Addresses = nil },
		"the link":    func(s *state.State) { *s = state.State{} },
	} {
		t.Run(name, func(t *testing.T) {
			settled(t, func(t *testing.T, r *running) {
				want := r.kernel.state()
				r.exhaust()
				r.kernel.edit(edit)
				r.Wake(reconciler.KernelChanged)
				after(4 * time.Second)
				now := r.kernel.state()
				if now.Link != want.Link || len(now.Peers) != len(want.Peers) || len(now.Routes) != len(want.Routes) || len(now.Addresses) != len(want.Addresses) {
					t.Errorf("the mesh is %+v, want %+v", now, want)
				}
				if len(now.Rules) != 0 {
					t.Error("the rules were repaired")
				}
			})
		})
	}
}

func TestSettingsOfTheDeviceAreRepairedAtRest(t *testing.T) {
	other := mesh.SecretKey([32]byte{8, 31: 64})
	for name, edit := range map[string]func(*state.State){
		"the mark":        func(s *state.State) { s.Link.FirewallMark = 0 },
		"the port":        func(s *state.State) { s.Link.ListenPort = 1 },
		"the key":         func(s *state.State) { s.Link.PrivateKey = other },
		"allowed IPs":     func(s *state.State) { s.Peers[0].AllowedIPs = nil },
		"a preshared key": func(s *state.State) { s.Peers[0].PresharedKey = mesh.PrivateKey{} },
		"a keepalive":     func(s *state.State) { s.Peers[0].Keepalive = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			settled(t, func(t *testing.T, r *running) {
				r.kernel.edit(edit)
				after(3 * time.Second)
				if pass, err := r.Diff(t.Context(), nil, nil); err != nil || len(pass.Plan) != 0 {
					t.Errorf("left is %v, %v", pass, err)
				}
			})
		})
	}
}

// The kernel keeps another MTU than it is given.
func TestPlanThatDoesNotConvergeSlowsDown(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		r.kernel.edit(func(s *state.State) {
			s.Link.MTU = 1300
			r.kernel.keep = func(s *state.State) { s.Link.MTU = 1300 }
		})
		before, _ := r.kernel.counts()
		for range 100 {
			r.Wake(reconciler.KernelChanged)
			after(100 * time.Millisecond)
		}
		if now, _ := r.kernel.counts(); now-before > 6 {
			t.Errorf("the change was made %d times in ten seconds", now-before)
		}
		if got := r.conditions(); got != "PlanNotConverging/link kubespan\n" {
			t.Errorf("conditions are %q", got)
		}
		r.kernel.edit(func(*state.State) { r.kernel.keep = nil })
		after(time.Minute + condition.PlanNotConverging.Definition().ClearsAfter)
		if got := r.conditions(); got != "" || r.kernel.state().Link.MTU == 1300 {
			t.Errorf("once the kernel takes the change, conditions are %q", got)
		}
	})
}

func TestProcessThatDoesNotAnswerIsRestarted(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		peers := r.kernel.all()
		r.kernel.edit(func(*state.State) { r.kernel.wedged = true })
		for r.conditions() == "" {
			after(100 * time.Millisecond)
		}
		_, err := r.Diff(t.Context(), nil, nil)
		if _, restarted := r.kernel.counts(); err == nil || restarted != 0 {
			t.Errorf("restarted %d times after one reading; diff says %v", restarted, err)
		}
		if got := r.conditions(); got != string(condition.WireGuardUnresponsive)+"/kubespan\n" {
			t.Errorf("conditions are %q", got)
		}
		after(3 * time.Second)
		if _, restarted := r.kernel.counts(); restarted != 1 || r.conditions() == "" {
			t.Errorf("restarted %d times, conditions are %q", restarted, r.conditions())
		}
		after(condition.WireGuardUnresponsive.Definition().ClearsAfter)
		if got := r.conditions(); got != "" {
			t.Errorf("when the process has answered for a while, conditions are %q", got)
		}
		if now := r.kernel.all(); len(now) != 1 || now[0].Endpoint != peers[0].Endpoint {
			t.Errorf("the peers are %+v, were %+v", now, peers)
		}
	})
}

// TestStandingConditions has a condition that no pass finds last through passes, without a mesh
// and with one.
func TestStandingConditions(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		stand := func(found ...condition.Condition) {
			t.Helper()
			if err := r.Stand(t.Context(), condition.ConfigUnwatched, found...); err != nil {
				t.Fatal(err)
			}
		}
		check := func(what, want string) {
			t.Helper()
			after(time.Minute)
			if got := r.conditions(); got != want {
				t.Errorf("%s, conditions are %q, want %q", what, got, want)
			}
		}
		stand(condition.Condition{Code: condition.ConfigUnwatched, Cause: "no watches"})
		check("without a mesh", "ConfigUnwatched\n")
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		check("with a mesh", "ConfigUnwatched\n")
		if _, err := r.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("with the mesh down", "ConfigUnwatched\nMeshDown\n")
		stand()
		check("once it has ended", "MeshDown\n")
	})
}
