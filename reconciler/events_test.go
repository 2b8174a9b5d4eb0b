package reconciler_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// events returns the reasons and objects of all events, sorted.
func (r *running) events() []string {
	var all []string
	for _, x := range r.store.List(resource.EventType) {
		e := x.Spec.(resource.Event)
		all = append(all, strings.TrimSpace(e.Reason+" "+e.Object))
	}
	slices.Sort(all)
	return all
}

func TestWhatHappensIsAnEvent(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		want := func(wants ...string) {
			t.Helper()
			for _, w := range wants {
				if !slices.Contains(r.events(), w) {
					t.Errorf("no %q among %q", w, r.events())
				}
			}
		}
		want("AgentStarted", "ConfigApplied")
		r.registry.learn(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
		after(time.Second)
		const name = "name-c"
		want("PeerJoined " + name)
		r.kernel.edit(func(s *state.State) {
			for i := range s.Peers {
				s.Peers[i].LastHandshake, s.Peers[i].ReceiveBytes = time.Now(), 1000
			}
		})
		after(30 * time.Second)
		want("PeerUp " + name)
		r.kernel.edit(func(s *state.State) {
			for i := range s.Peers {
				s.Peers[i].Endpoint = netip.MustParseAddrPort("10.0.9.9:40000")
				s.Peers[i].LastHandshake, s.Peers[i].ReceiveBytes = time.Now(), 2000
			}
		})
		after(30 * time.Second)
		want("EndpointChanged " + name)
		r.registry.learn(affiliate(1, "10.0.0.1:51820"))
		after(time.Second)
		want("PeerLeft " + name)

		r.registry.connect(health.Session{URL: "https://d", State: health.Connected, Since: time.Now(), Heard: time.Now(), RedirectedTo: "https://e"})
		r.Wake(reconciler.InputChanged)
		after(time.Second)
		want("DiscoveryConnected https://d", "DiscoveryRedirected https://d")
		if sessions := r.Last().Sessions; len(sessions) != 1 || sessions[0].Registry == "" || sessions[0].URL != "https://d" {
			t.Errorf("the sessions are %+v", sessions)
		}

		r.ClockStepped(time.Hour)
		after(time.Second)
		want("ClockSet", "NetworkChanged")
		r.kernel.edit(func(s *state.State) {
			s.Rules = nil
			r.kernel.refuse = func(state.Change) bool { return true }
		})
		r.Wake(reconciler.KernelChanged)
		after(time.Second)
		r.kernel.edit(func(*state.State) { r.kernel.refuse = nil })
		after(time.Minute)
		want("PassRecovered")
	})
}

// Two peers that call themselves the same are told apart by their keys, in statuses and in events.
func TestTwinsAreNamedByTheirKeys(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		twins := []mesh.Affiliate{affiliate(2, "10.0.0.2:51820"), affiliate(3, "10.0.0.3:51820")}
		for i := range twins {
			twins[i].Nodename = "vm"
		}
		r.registry.learn(twins...)
		after(time.Second)
		r.kernel.edit(func(s *state.State) {
			for i := range s.Peers {
				s.Peers[i].LastHandshake, s.Peers[i].ReceiveBytes = time.Now(), 1000
			}
		})
		after(30 * time.Second)
		for i := range twins {
			a := &twins[i]
			key := a.KubeSpan.PublicKey.String()
			found, err := resource.Find(resource.PeerStatuses, r.store.List(resource.PeerStatuses), key)
			if err != nil {
				t.Fatal(err)
			}
			if s := found.Spec.(resource.PeerStatus); s.Label != "vm" || s.Name != key || s.NodeID != a.NodeID || s.Address != a.KubeSpan.Address {
				t.Errorf("the status is %+v", s)
			}
			if events := r.events(); !slices.Contains(events, "PeerJoined "+key) || !slices.Contains(events, "PeerUp "+key) {
				t.Errorf("the events are %q", events)
			}
		}
	})
}

// A thousand peers that join at once are one event, which leaves room for the others.
func TestManyPeersAreOneEvent(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		var many []mesh.Affiliate
		for n := range byte(100) {
			many = append(many, affiliate(n+1, "10.0.0.1:51820"))
		}
		r.registry.learn(many...)
		after(5 * time.Second)
		joined := slices.DeleteFunc(r.events(), func(e string) bool { return !strings.HasPrefix(e, "PeerJoined") })
		if !slices.Equal(joined, []string{"PeerJoined 99 peers"}) {
			t.Errorf("got %q", joined)
		}
	})
}

// TestWhatIsServedIsShown has the relay that the machine is for others report what it serves.
func TestWhatIsServedIsShown(t *testing.T) {
	settled(t, func(t *testing.T, r *running) {
		shown := func() string {
			all := r.store.List(resource.HealthStates)
			if len(all) != 1 {
				t.Fatalf("%d states of health", len(all))
			}
			return all[0].Spec.(resource.HealthState).OfferedRelay
		}
		r.SetServing(health.OfferedRelay{Port: 51821, Members: 2, Registered: 1})
		after(time.Second)
		if got := shown(); got != "UDP 51821, 1 of 2 machines registered" || r.Last().Health.Offered.Port != 51821 {
			t.Errorf("shown is %q, in the turn %+v", got, r.Last().Health.Offered)
		}
		r.SetServing(health.OfferedRelay{})
		after(time.Second)
		if got := shown(); got != "" {
			t.Errorf("without one, shown is %q", got)
		}
	})
}
