package reconciler_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/schema"
)

// withPhone is a config with a static peer; without the discovery service if alone.
func withPhone(t *testing.T, alone bool) *schema.Config {
	t.Helper()
	c := *config(t, "")
	c.Cluster.Discovery.Registries.Service.Disabled = alone
	c.Cluster.Discovery.Registries.Static.Peers = []schema.StaticPeer{{Name: "phone", PublicKey: schema.StaticKey{7}}}
	return &c
}

func TestKnowledgeIsMerged(t *testing.T) {
	one, two := &fakeRegistry{}, &fakeRegistry{}
	d := discovery(one.driver("one"), two.driver("two"), static.Driver())
	if k := d.Knowledge(); k.Complete {
		t.Error("complete before a registry was opened")
	}
	if err := d.Open(withPhone(t, false)); err != nil {
		t.Fatal(err)
	}
	if k := d.Knowledge(); k.Complete || len(k.Affiliates) != 1 {
		t.Errorf("without an answer, complete %v with %+v", k.Complete, k.Affiliates)
	}
	first, second := affiliate(1, "10.0.0.1:1"), affiliate(1, "10.0.0.1:2")
	second.Hostname = "newer"
	one.learn(first, affiliate(2))
	if d.Knowledge().Complete {
		t.Error("complete, though one registry has not answered")
	}
	two.learn(second)
	seen := netip.MustParseAddr("192.0.2.1")
	two.snapshot.Seen = []netip.Addr{seen}
	two.snapshot.Refused = map[string]string{"bad": "broken"}
	one.snapshot.Node = mesh.Node{Name: "node"}
	two.changed()
	k := d.Knowledge()
	if !k.Complete || len(k.Affiliates) != 3 || k.Node.Name != "node" || len(k.Seen) != 1 || k.Refused["bad"] != "broken" {
		t.Errorf("known is %+v", k)
	}
	if a := k.Affiliates[0]; a.Hostname != "newer" || len(a.KubeSpan.Endpoints) != 2 {
		t.Errorf("the affiliate of two registries is %+v", a)
	}
	if again := d.Knowledge(); again.Version != k.Version {
		t.Error("the version changed without a change")
	}
	one.learn()
	if d.Knowledge().Version == k.Version {
		t.Error("the version is the same after a change")
	}
}

func TestKnowledgeWithoutRegistriesIsComplete(t *testing.T) {
	d := discovery((&fakeRegistry{}).driver("fake"), static.Driver())
	none := *config(t, "")
	none.Cluster.Discovery.Registries.Service.Disabled = true
	for range 2 {
		if d.Knowledge().Complete {
			t.Error("complete while nothing is open")
		}
		if err := d.Open(&none); err != nil {
			t.Fatal(err)
		}
		if !d.Knowledge().Complete {
			t.Error("not complete, though the config asks for no registry")
		}
		d.Close()
	}
}

// TestOutsideIsKnown has what others see of the machine in what is known, as news.
func TestOutsideIsKnown(t *testing.T) {
	d := discovery()
	before := d.Knowledge()
	outside := mesh.Outside{IPv4: mesh.Mapping{Kind: mesh.NATIndependent, Address: netip.MustParseAddr("203.0.113.9"), Ports: []uint16{40000}}}
	d.SetOutside(outside)
	if after := d.Knowledge(); !before.Outside.Equal(mesh.Outside{}) || !after.Outside.Equal(outside) || after.Version == before.Version {
		t.Errorf("known before: %+v, after: %+v", before, after)
	}
}

// TestPortMappingsAreKnown has the router's port mappings beside what servers see.
func TestPortMappingsAreKnown(t *testing.T) {
	d := discovery()
	outside := mesh.Outside{IPv4: mesh.Mapping{Kind: mesh.NATDependent, Address: netip.MustParseAddr("203.0.113.9")}}
	router := []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("203.0.113.9:40001"), Protocol: "PCP"}}
	d.SetOutside(outside)
	before := d.Knowledge()
	faults := []mesh.PortMappingFault{{Router: netip.MustParseAddr("fe80::1"), Text: "PCP: no answer"}}
	d.SetPortMappings(router, faults)
	outside.Router, outside.RouterFaults = router, faults
	if after := d.Knowledge(); !after.Outside.Equal(outside) || after.Version == before.Version {
		t.Errorf("known before: %+v, after: %+v", before, after)
	}
	d.SetOutside(mesh.Outside{})
	if after := d.Knowledge(); !after.Outside.Equal(mesh.Outside{Router: router, RouterFaults: faults}) {
		t.Errorf("known without what servers see: %+v", after.Outside)
	}
}

func TestAnnounceFailsWhereNoRegistryAccepts(t *testing.T) {
	self := affiliate(9)
	for _, c := range []struct {
		name         string
		service      error
		kubernetes   error
		config       *schema.Config
		wantErr      error
		wantNotInErr string
	}{
		{name: "both accept"},
		{name: "one of two is enough", service: errRefused},
		{name: "all that can publish fail", service: errRefused, kubernetes: errRefused, wantErr: errRefused, wantNotInErr: "read-only"},
		{name: "the only one that can publish fails", service: errRefused, kubernetes: reconciler.ErrReadOnly, wantErr: errRefused, wantNotInErr: "read-only"},
		{name: "all are read-only", service: reconciler.ErrReadOnly, kubernetes: reconciler.ErrReadOnly, wantErr: reconciler.ErrNoPublisher},
		{name: "static peers alone", config: withPhone(t, true), wantErr: reconciler.ErrNoPublisher},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config == nil {
				c.config = withPhone(t, false)
			}
			d := discovery((&fakeRegistry{announceErr: c.kubernetes}).driver("kubernetes"), (&fakeRegistry{announceErr: c.service}).driver("service"), static.Driver())
			if err := d.Open(c.config); err != nil {
				t.Fatal(err)
			}
			err := d.Announce(t.Context(), self)
			if !errors.Is(err, c.wantErr) || (err == nil) != (c.wantErr == nil) {
				t.Errorf("got %v, want %v", err, c.wantErr)
			}
			if err != nil && c.wantNotInErr != "" && strings.Contains(err.Error(), c.wantNotInErr) {
				t.Errorf("got %v, which says %q", err, c.wantNotInErr)
			}
		})
	}
}

// TestRotateKey has the same for a loop.
func TestKeyThatCannotBeAnnouncedIsNotKept(t *testing.T) {
	disabled := config(t, "enabled: false")
	for _, c := range []struct {
		name     string
		config   *schema.Config
		registry *fakeRegistry
		want     error
	}{
		{"static peers alone", withPhone(t, true), &fakeRegistry{}, reconciler.ErrNoPublisher},
		{"read-only registries", withPhone(t, false), &fakeRegistry{announceErr: reconciler.ErrReadOnly}, reconciler.ErrNoPublisher},
		{"the registry does not answer", withPhone(t, false), &fakeRegistry{announceErr: errRefused}, errRefused},
		{"no mesh", disabled, &fakeRegistry{}, reconciler.ErrNoMesh},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := discovery(c.registry.driver("fake"), static.Driver())
			if err := d.Open(c.config); err != nil {
				t.Fatal(err)
			}
			stored := &storedKeys{}
			engine := reconciler.NewEngine(&fakeKernel{}, stored.identify, &resource.Store{}, discard())
			_, err := reconciler.RotateKey(t.Context(), engine, d, c.config, stored.rotation())
			if !errors.Is(err, c.want) || stored.inUse != 0 || stored.pending != 0 {
				t.Errorf("got %v, stored is %+v, want %v", err, stored, c.want)
			}
		})
	}
}

func TestLeaveFailsWhereOneRegistryFails(t *testing.T) {
	good, bad := &fakeRegistry{}, &fakeRegistry{leaveErr: errRefused}
	d := discovery(good.driver("good"), bad.driver("bad"), static.Driver())
	c := withPhone(t, false)
	if err := reconciler.LeaveDiscovery(t.Context(), d, c); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "registry bad") {
		t.Errorf("got %v", err)
	}
	if good.left != 1 {
		t.Error("the other registry was not left")
	}
	bad.leaveErr = nil
	if err := reconciler.LeaveDiscovery(t.Context(), d, c); err != nil || bad.left != 1 {
		t.Errorf("second time: %v", err)
	}
}

// Down removes the mesh even if a registry cannot be left. Another Down leaves it.
func TestDownWarnsWhereARegistryWasNotLeft(t *testing.T) {
	withLoop(t, func(t *testing.T, r *running) {
		if _, err := r.SetConfig(t.Context(), config(t, "")); err != nil {
			t.Fatal(err)
		}
		r.registry.leaveErr = errRefused
		pass, err := r.Down(t.Context())
		if err != nil || r.kernel.state().Link.Name != "" {
			t.Fatalf("the mesh is not removed: %v", err)
		}
		if len(pass.Warnings) != 1 || !strings.Contains(pass.Warnings[0], "the other machines were not told") {
			t.Errorf("the warnings are %q", pass.Warnings)
		}
		r.registry.leaveErr = nil
		if pass, err := r.Down(t.Context()); err != nil || r.registry.left != 1 || len(pass.Warnings) != 0 {
			t.Errorf("second time: %v, left %d times", err, r.registry.left)
		}
	})
}

func TestRegistryThatFailedToOpenIsOpenedAgain(t *testing.T) {
	good, bad := &fakeRegistry{}, &fakeRegistry{}
	broken := true
	driver := bad.driver("bad")
	open := driver.Open
	driver.Open = func(o reconciler.RegistryOptions) (reconciler.Registry, error) {
		if broken {
			return nil, errRefused
		}
		return open(o)
	}
	d := discovery(good.driver("good"), driver)
	if err := d.Open(config(t, "")); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	good.learn()
	bad.snapshot.Complete = true
	if d.Knowledge().Complete {
		t.Error("complete without one of two registries")
	}
	broken = false
	if err := d.Open(config(t, "")); err != nil || !d.Knowledge().Complete {
		t.Errorf("second time: %v, complete %v", err, d.Knowledge().Complete)
	}
	if good.opened != 1 {
		t.Errorf("the good registry was opened %d times", good.opened)
	}
}

func TestCachesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cache, c := &fakeRegistry{}, &fakeCache{}, config(t, "")
		options := reconciler.DiscoveryOptions{Drivers: []reconciler.Driver{r.driver("fake"), static.Driver()}, Cache: cache, Log: discard(),
			NodeID: func() (string, error) { return "self", nil }}
		d := reconciler.NewDiscovery(options)
		if err := d.Follow(c, func() {}); err != nil {
			t.Fatal(err)
		}
		if r.cache != nil {
			t.Errorf("it started with %q", r.cache)
		}
		r.learn(affiliate(1))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if data, err := cache.Load("fake", c.Cluster.ID); err != nil || string(data) != "1" {
			t.Errorf("after a change there is %q, %v", data, err)
		}
		r.learn(affiliate(1), affiliate(2))
		d.Close()
		d = reconciler.NewDiscovery(options)
		if err := d.Open(c); err != nil || string(r.cache) != "2" {
			t.Errorf("the next one started with %q, %v", r.cache, err)
		}
		if r.counts() != [3]int{2, 0, 0} {
			t.Errorf("opened, left, running %v", r.counts())
		}
		// What the registry learns while it is left is kept, too.
		r.learn(affiliate(1), affiliate(2), affiliate(3))
		if err := d.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if data, err := cache.Load("fake", c.Cluster.ID); err != nil || string(data) != "3" {
			t.Errorf("after it was left there is %q, %v", data, err)
		}
	})
}
