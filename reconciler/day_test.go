package reconciler_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/reconciler/static"
)

// day is a loop with peers, of which a day passes.
type day struct {
	t *testing.T
	*reconciler.Loop
	kernel   *wireKernel
	registry *fakeRegistry
	store    *resource.Store
	keys     storedKeys
	log      lines
	paths    atomic.Int64
	// third is the key of the third peer.
	third byte
	// start is when the day began.
	start time.Time
}

// aDay runs a test with a loop that runs.
func aDay(t *testing.T, test func(t *testing.T, d *day)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &day{t: t, kernel: &wireKernel{}, registry: &fakeRegistry{}, store: &resource.Store{}, start: time.Now(), third: 3}
		log := slog.New(slog.NewTextHandler(&d.log, nil))
		engine := reconciler.NewEngine(d.kernel, d.keys.identify, d.store, log)
		engine.Started, engine.Version = time.Now(), "v1"
		engine.PathChanged = func(reconciler.Path) { d.paths.Add(1) }
		d.Loop = reconciler.NewLoop(engine, discovery(d.registry.driver("fake"), static.Driver()), log)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Run(ctx)
		}()
		test(t, d)
		stop()
		<-done
	})
}

// at waits for a minute of an hour.
func (d *day) at(hour, minute int) {
	time.Sleep(time.Until(d.start.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)))
	synctest.Wait()
}

// must fails the test for an error.
func (d *day) must(_ *reconciler.Pass, err error) {
	d.t.Helper()
	if err != nil {
		d.t.Errorf("at %v: %v", time.Since(d.start), err)
	}
}

// machine is another machine with an endpoint for each of the ports.
func machine(n byte, ports ...int) mesh.Affiliate {
	var endpoints []string
	for _, port := range ports {
		endpoints = append(endpoints, endpointOf(n, port))
	}
	return affiliate(n, endpoints...)
}

func endpointOf(n byte, port int) string { return fmt.Sprintf("192.0.2.%d:%d", n, port) }

// learn has the registry know three machines, and further ones.
func (d *day) learn(port int, more ...mesh.Affiliate) {
	third := machine(3, 51820)
	third.KubeSpan.PublicKey = mesh.Key{d.third}
	d.registry.learn(slices.Concat([]mesh.Affiliate{machine(1, port), machine(2, 51820, 51821), third}, more)...)
}

// connected is the session of a registry since a time.
func connected(since time.Time) health.Session {
	return health.Session{URL: "https://d", State: health.Connected, Since: since, Heard: since}
}

// begin makes the mesh.
func (d *day) begin() {
	d.kernel.remote(mesh.Key{1}, endpointOf(1, 51820), true)
	d.kernel.remote(mesh.Key{2}, endpointOf(2, 51821), true)
	d.kernel.remote(mesh.Key{3}, endpointOf(3, 51820), true)
	d.registry.connect(connected(time.Now()))
	d.learn(51820)
	d.must(d.SetConfig(d.t.Context(), config(d.t, "")))
}

// peersChange is the first half of an hour: peers join, leave, roam, fall silent and change their keys.
func (d *day) peersChange(hour int) {
	port := 51820 + hour + 1
	guest := machine(byte(100+hour), 51820)
	d.at(hour, 2)
	d.kernel.remote(guest.KubeSpan.PublicKey, endpointOf(byte(100+hour), 51820), true)
	d.learn(51820+hour, guest)
	d.at(hour, 5)
	d.kernel.remote(mesh.Key{1}, endpointOf(1, port), true)
	d.learn(port, guest)
	d.at(hour, 8)
	d.kernel.remote(mesh.Key{2}, endpointOf(2, 51821), false)
	d.at(hour, 12)
	if s := d.states(); !strings.Contains(s, "2:down") {
		d.t.Errorf("in hour %d, with a silent peer: %s", hour, s)
	}
	d.kernel.remote(mesh.Key{2}, endpointOf(2, 51820+hour%2), true)
	d.at(hour, 15)
	d.kernel.leave(mesh.Key{d.third})
	d.third = byte(200 + hour)
	d.kernel.remote(mesh.Key{d.third}, endpointOf(3, 51820), true)
	d.learn(port, guest)
	d.at(hour, 20)
	d.kernel.leave(guest.KubeSpan.PublicKey)
	d.learn(port)
}

// machineChanges is the second half: what this machine, its kernel and its registry may meet.
func (d *day) machineChanges(hour int) {
	ctx := d.t.Context()
	d.at(hour, 22)
	d.must(d.RotateKey(ctx, d.keys.rotation()))
	d.at(hour, 24)
	d.must(d.SetConfig(ctx, config(d.t, fmt.Sprintf("mtu: %d", 1400-hour%2*20))))
	d.at(hour, 26)
	for i := range 8 {
		d.kernel.edit(func(s *state.State) { s.Rules = nil })
		d.Wake(reconciler.KernelChanged)
		after(100 * time.Millisecond)
		if repaired := len(d.kernel.state().Rules) > 0; repaired != (i < 6) {
			d.t.Errorf("in hour %d, repair %d at once: %v", hour, i+1, repaired)
		}
	}
	d.at(hour, 28)
	d.kernel.edit(func(s *state.State) { s.Rules, d.kernel.refuse = nil, isChange[state.RuleChange] })
	d.Wake(reconciler.KernelChanged)
	d.at(hour, 32)
	d.kernel.edit(func(*state.State) { d.kernel.refuse = nil })
	d.at(hour, 34)
	d.registry.connect(health.Session{URL: "https://d", State: health.Failed, Since: time.Now(), Failure: failure.Failure{Class: failure.Refused, Text: "refused"}})
	d.Wake(reconciler.InputChanged)
	d.at(hour, 37)
	d.registry.connect(connected(time.Now()))
	d.Wake(reconciler.InputChanged)
	d.at(hour, 38)
	d.kernel.edit(func(*state.State) { d.kernel.wedged = true })
	d.at(hour, 40)
	d.kernel.edit(func(*state.State) { d.kernel.address = netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + hour)}) })
	d.ClockStepped(0)
	d.at(hour, 42)
	d.SetDirect(reconciler.Direct{On: true, Paths: []mesh.Path{{Peer: mesh.Key{2}, Endpoint: netip.MustParseAddrPort(endpointOf(2, 51820+hour%2)), Punched: true}}})
	d.Nudged(netip.MustParseAddrPort("192.0.2.99:1"))
	d.at(hour, 43)
	d.SetDirect(reconciler.Direct{})
	d.must(d.Diff(ctx, nil, nil))
	d.at(hour, 44)
	d.must(d.Down(ctx))
	d.at(hour, 45)
	d.must(d.SetConfig(ctx, config(d.t, fmt.Sprintf("mtu: %d", 1400-hour%2*20))))
}

// states returns the states of the peers, as "1:up 2:down".
func (d *day) states() string {
	var words []string
	for _, r := range d.store.List(resource.PeerStatuses) {
		s := r.Spec.(resource.PeerStatus)
		words = append(words, fmt.Sprintf("%s:%s", strings.TrimPrefix(s.NodeID, "node-"), s.State))
	}
	slices.Sort(words)
	return strings.NewReplacer("b:", "1:", "c:", "2:", "d:", "3:").Replace(strings.Join(words, " "))
}

// census counts what is kept now.
func (d *day) census() map[string]int {
	d.t.Helper()
	synctest.Wait()
	c, err := d.Kept(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	c["goroutines"] = runtime.NumGoroutine()
	for _, typ := range resource.Types {
		if typ != resource.EventType {
			c[typ.Name] = len(d.store.List(typ))
		}
	}
	return c
}

// checkHour compares what is kept with what was kept after the first hour. Of what is bounded by a number alone,
// that number counts.
func (d *day) checkKept(hour int, first map[string]int) {
	d.t.Helper()
	is := d.census()
	if is["goroutines"] <= first["goroutines"]+2 { // the runtime may have one of its own for a while
		is["goroutines"] = first["goroutines"]
	}
	for _, what := range []string{"last good", "remembered"} {
		if n, most := is[what], 2*(is["connections"]+1)+64; n > most {
			d.t.Errorf("in hour %d, %d %s are kept, want at most %d", hour, n, what, most)
		}
		is[what] = first[what]
	}
	if n := len(d.store.List(resource.EventType)); n > 200 {
		d.t.Errorf("in hour %d, there are %d events", hour, n)
	}
	if !maps.Equal(is, first) {
		d.t.Errorf("after hour %d:\n%v, want\n%v", hour, is, first)
	}
}

// checkHour checks that all is well at the end of an hour.
func (d *day) checkHour(hour int, first map[string]int) {
	d.t.Helper()
	d.checkKept(hour, first)
	if s := d.states(); s != "1:up 2:up 3:up" {
		d.t.Errorf("after hour %d: %s", hour, s)
	}
	if state := d.store.List(resource.HealthStates)[0].Spec.(resource.HealthState).State; state != "healthy" {
		d.t.Errorf("after hour %d, the machine is %s:\n%v", hour, state, d.store.List(resource.Conditions))
	}
}

// TestADayOfChanges has three peers and a loop for which nothing stays as it is for 18 hours, and six more in which
// everything does. What is kept is what was after the first hour, and in the end nothing is done but what time asks for.
func TestADayOfChanges(t *testing.T) {
	aDay(t, func(t *testing.T, d *day) {
		d.begin()
		const busy, quiet = 18, 6
		var first map[string]int
		for hour := range busy {
			d.peersChange(hour)
			d.machineChanges(hour)
			d.at(hour, 59)
			if hour == 0 {
				first = d.census()
			}
			d.checkHour(hour, first)
			d.kernel.since()
		}
		logged, events := len(d.log.all()), eventCount(d.store)
		d.kernel.since()
		paths := d.paths.Load()
		d.at(busy+quiet-1, 59)
		d.checkHour(busy+quiet-1, first)
		reads, echoes, applied := d.kernel.since()
		t.Logf("%d readings and %d echoes in %d quiet hours", len(reads), echoes, quiet)
		// WireGuard is read each two seconds, or each second where bytes move, as echoes do.
		if most := quiet * 3600 * 2 / 3; len(reads) > most {
			t.Errorf("%d readings in %d quiet hours, want at most %d", len(reads), quiet, most)
		}
		// A peer gets one after 7.5 seconds of silence, or 30 seconds after the last.
		if most := quiet * 3 * 3600 / 9; echoes > most {
			t.Errorf("%d echoes in %d quiet hours, want at most %d", echoes, quiet, most)
		}
		if applied > 0 || d.paths.Load() != paths || eventCount(d.store) != events {
			t.Errorf("in quiet hours, %d changes, %d other paths, %d events", applied, d.paths.Load()-paths, eventCount(d.store)-events)
		}
		if all := d.log.all(); len(all) != logged {
			t.Errorf("in quiet hours, it is logged:\n%s", strings.Join(all[logged:min(len(all), logged+20)], "\n"))
		}
	})
}

// eventCount returns how often anything has happened that is still listed.
func eventCount(s *resource.Store) (n int) {
	for _, r := range s.List(resource.EventType) {
		n += r.Spec.(resource.Event).Count
	}
	return n
}

// TestADayAloneIsPolled has a machine without peers: it is read each 30 seconds, to the second, and nothing else is done.
func TestADayAloneIsPolled(t *testing.T) {
	aDay(t, func(t *testing.T, d *day) {
		d.registry.learn()
		d.must(d.SetConfig(t.Context(), config(t, "")))
		after(time.Minute)
		d.kernel.since()
		before := d.census()
		after(24 * time.Hour)
		reads, _, applied := d.kernel.since()
		for i := 1; i < len(reads); i++ {
			if pause := reads[i].Sub(reads[i-1]); pause != peer.IdleInterval {
				t.Fatalf("reading %d follows after %v", i, pause)
			}
		}
		if want := int(24 * time.Hour / peer.IdleInterval); len(reads) != want || applied > 0 {
			t.Errorf("%d readings in a day, want %d; %d changes", len(reads), want, applied)
		}
		d.checkKept(24, before)
	})
}
