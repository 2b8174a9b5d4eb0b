package reconciler_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

var behind = netip.MustParsePrefix("10.99.0.0/24")

// router returns machine n with a network behind it.
func router(n byte, networks ...netip.Prefix) mesh.Affiliate {
	a := affiliate(n, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 51820).String())
	a.KubeSpan.AdditionalAddresses = networks
	return a
}

// holder returns the first byte of the key of the peer that has a prefix in the kernel; 0 for none.
func holder(kernel *fakeKernel, prefix netip.Prefix) (key byte) {
	for _, p := range kernel.all() {
		if slices.Contains(p.AllowedIPs, prefix) {
			key = p.PublicKey[0]
		}
	}
	return key
}

func TestPrefixStaysWithItsOwner(t *testing.T) {
	engine, kernel, _ := newEngine()
	now := start
	run := func(e *reconciler.Engine, alive []byte, affiliates ...mesh.Affiliate) *reconciler.Pass {
		t.Helper()
		now = now.Add(time.Second)
		kernel.edit(up(now, alive...))
		pass, err := e.Run(t.Context(), now, config(t, ""), complete(affiliates...))
		if err != nil {
			t.Fatal(err)
		}
		return pass
	}
	one, two := router(1, behind), router(2, behind)
	run(engine, nil, two)
	run(engine, []byte{2}, two)
	run(engine, []byte{2}, one, two)
	run(engine, []byte{1, 2}, one, two)
	if got := holder(kernel, behind); got != 2 {
		t.Fatalf("the network moved to %d although its owner is up", got)
	}
	// A plan moves nothing.
	kernel.edit(up(now, 1))
	if _, err := engine.Plan(now.Add(400*time.Second), config(t, ""), complete(one, two)); err != nil {
		t.Fatal(err)
	}
	// Nor does another process.
	restarted := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
	if pass := run(restarted, []byte{1, 2}, one, two); slices.ContainsFunc(pass.Plan, func(c state.Change) bool {
		p, is := c.(state.PeerChange)
		return is && p.NewAllowedIPs()
	}) {
		t.Errorf("a restart changes allowed IPs: %v", pass.Plan)
	}
	run(engine, []byte{1}, one)
	if got := holder(kernel, behind); got != 1 {
		t.Fatalf("the network is at %d, want the machine that is left", got)
	}
	pass := run(engine, []byte{1}, one, two)
	run(engine, []byte{1, 2}, one, two)
	if got := holder(kernel, behind); got != 1 {
		t.Errorf("the network moved back to %d", got)
	}
	if !slices.ContainsFunc(pass.Conditions, func(c condition.Condition) bool {
		return c.Code == condition.AddressOverlap && c.Subject == behind.String()
	}) {
		t.Errorf("the conditions are %v", pass.Conditions)
	}
}

// TestMoveIsNoRepair has a network move: that reverts nothing of another program.
func TestMoveIsNoRepair(t *testing.T) {
	engine, kernel, _ := newEngine()
	known := complete(router(1, behind), router(2, behind))
	known.Version = 1
	c := config(t, "")
	now, moved := start, false
	before := byte(0)
	for range 60 {
		now = now.Add(10 * time.Second)
		kernel.edit(up(now, 2))
		pass, err := engine.Run(t.Context(), now, c, known)
		if err != nil {
			t.Fatal(err)
		}
		if after := holder(kernel, behind); after != before {
			moved = moved || before != 0
			if before != 0 && pass.Same {
				t.Error("the pass that moves a network counts as one without news")
			}
			before = after
		}
	}
	if before != 2 || !moved {
		t.Errorf("the network is at %d, moved: %v", before, moved)
	}
}

// TestKeyOfAnotherStays has a machine publish the key of another one under a smaller node ID.
func TestKeyOfAnotherStays(t *testing.T) {
	engine, kernel, _ := newEngine()
	owner := router(2)
	thief := router(2)
	thief.NodeID, thief.Addresses = "a", []netip.Addr{netip.MustParseAddr("10.7.7.7")}
	own := netip.MustParsePrefix("10.0.0.2/32")
	for i, affiliates := range [][]mesh.Affiliate{{owner}, {thief, owner}} {
		if _, err := engine.Run(t.Context(), start.Add(time.Duration(i)*time.Second), config(t, ""), complete(affiliates...)); err != nil {
			t.Fatal(err)
		}
		if got := holder(kernel, own); got != 2 {
			t.Errorf("pass %d: the address is at %d", i, got)
		}
	}
	restarted := reconciler.NewEngine(kernel, identify, &resource.Store{}, discard())
	if _, err := restarted.Run(t.Context(), start.Add(time.Minute), config(t, ""), complete(thief, owner)); err != nil {
		t.Fatal(err)
	}
	if got := holder(kernel, own); got != 2 {
		t.Errorf("after a restart: the address is at %d", got)
	}
}

// TestConfigThatComesBack disables the mesh and enables it with the same config again, as the end
// of a trial does.
func TestConfigThatComesBack(t *testing.T) {
	engine, kernel, _ := newEngine()
	known := complete(router(1, behind))
	known.Version = 1
	enabled, disabled := config(t, ""), config(t, "enabled: false")
	disabled.Cluster.Discovery.Enabled = false
	for i, c := range []*schema.Config{enabled, disabled, enabled} {
		if _, err := engine.Run(t.Context(), start.Add(time.Duration(i)*time.Minute), c, known); err != nil {
			t.Fatal(err)
		}
	}
	if got := holder(kernel, behind); got != 1 {
		t.Errorf("the network is at %d after the mesh came back", got)
	}
}

// TestRemedyOfAnOwnAddress has machines with the same address on their links, as a machine that
// was set up anew and what it was before: neither advertises a network that could be changed.
func TestRemedyOfAnOwnAddress(t *testing.T) {
	engine, kernel, _ := newEngine()
	host, err := kernel.Host("", nil)
	if err != nil {
		t.Fatal(err)
	}
	one, two := affiliate(1, "192.0.2.1:51820"), affiliate(2, "192.0.2.2:51820")
	two.Addresses = append(slices.Clone(one.Addresses), host.Addresses...)
	pass, err := engine.Run(t.Context(), start, config(t, ""), complete(one, two))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []condition.Code{condition.AddressOverlap, condition.AddressRefused} {
		i := slices.IndexFunc(pass.Conditions, func(c condition.Condition) bool { return c.Code == code })
		if i < 0 {
			t.Fatalf("%s is missing: %v", code, pass.Conditions)
		}
		if remedy := pass.Conditions[i].Remedy; !strings.Contains(remedy, "set up anew") || !strings.Contains(remedy, "`spanctl discovery rm "+two.NodeID+"`") || strings.Contains(remedy, "default route") {
			t.Errorf("the remedy of %s is %q", code, remedy)
		}
	}
}

// TestClashIsStable has two machines with this machine's address. They are one condition, which
// names the same of them with every pass.
func TestClashIsStable(t *testing.T) {
	engine, _, _ := newEngine()
	self, err := identify(clusterID, mesh.Host{})
	if err != nil {
		t.Fatal(err)
	}
	a, b := affiliate(1), affiliate(2)
	a.KubeSpan.Address, b.KubeSpan.Address = self.Address.Addr(), self.Address.Addr()
	for i := range 20 {
		pass, err := engine.Run(t.Context(), start.Add(time.Duration(i)*time.Second), config(t, ""), complete(a, b))
		if err != nil {
			t.Fatal(err)
		}
		if len(pass.Conditions) != 1 {
			t.Fatalf("the conditions are %v", pass.Conditions)
		}
		if c := pass.Conditions[0]; c.Code != condition.AddressClash || !strings.Contains(c.Cause, "name-b") {
			t.Fatalf("pass %d: the condition is %v", i, c)
		}
	}
}
