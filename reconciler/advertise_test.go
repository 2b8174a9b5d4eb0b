package reconciler_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// TestStaticPeerOfTwoMachines has a static peer that another machine may have as well: it is announced
// while it is up here, and belongs to whom it is connected to.
func TestStaticPeerOfTwoMachines(t *testing.T) {
	engine, kernel, _ := newEngine()
	address := netip.MustParsePrefix("fd00::77/128")
	phone := mesh.Affiliate{NodeID: mesh.StaticID("phone"), Nodename: "phone", Static: true, Shared: true, Addresses: []netip.Addr{address.Addr()},
		KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{7}, AdditionalAddresses: []netip.Prefix{address}}}
	described := *config(t, "")
	described.Cluster.Discovery.Registries.Static.Peers = []schema.StaticPeer{{Name: "phone", PublicKey: schema.StaticKey{7},
		AllowedIPs: []netip.Prefix{address}, Advertise: true}}
	now := start
	run := func(alive []byte, affiliates ...mesh.Affiliate) (announced bool) {
		t.Helper()
		now = now.Add(time.Second)
		kernel.edit(up(now, alive...))
		pass, err := engine.Run(t.Context(), now, &described, complete(affiliates...))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(pass.Conditions, func(c condition.Condition) bool { return c.Code == condition.AddressOverlap }) {
			t.Errorf("the conditions are %v", pass.Conditions)
		}
		return slices.Contains(pass.Local.KubeSpan.AdditionalAddresses, address)
	}
	if run(nil, router(1), phone) {
		t.Error("a peer that never was up is announced")
	}
	run([]byte{1, 7}, router(1), phone)
	if !run([]byte{1, 7}, router(1), phone) || holder(kernel, address) != 7 {
		t.Errorf("a peer that is up is not announced, or its address is at %d", holder(kernel, address))
	}
	// The other machine announces it too: it stays as long as it is up.
	if !run([]byte{1, 7}, router(1, address), phone) || holder(kernel, address) != 7 {
		t.Errorf("the address of a peer that is up moved to %d", holder(kernel, address))
	}
	now = now.Add(400 * time.Second)
	announced := true
	for range 30 {
		announced = run([]byte{1}, router(1, address), phone)
	}
	if announced || holder(kernel, address) != 1 {
		t.Errorf("a peer that is down is announced: %v, or its address is at %d", announced, holder(kernel, address))
	}
	// It connects to this machine again.
	for range 2 {
		announced = run([]byte{1, 7}, router(1, address), phone)
	}
	if !announced || holder(kernel, address) != 7 {
		t.Errorf("a peer that is back is announced: %v, and its address is at %d", announced, holder(kernel, address))
	}
}

// TestManyStaticPeers has more of them than discovery takes of a machine.
func TestManyStaticPeers(t *testing.T) {
	engine, kernel, _ := newEngine()
	described := *config(t, "")
	var phones []mesh.Affiliate
	var keys []byte
	for n := byte(1); n <= 100; n++ {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 7, 0, n}), 32)
		phones = append(phones, mesh.Affiliate{NodeID: mesh.StaticID(fmt.Sprint(n)), Static: true, Shared: true, Nodename: fmt.Sprint("phone-", n),
			KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{n}, AdditionalAddresses: []netip.Prefix{address}}})
		described.Cluster.Discovery.Registries.Static.Peers = append(described.Cluster.Discovery.Registries.Static.Peers,
			schema.StaticPeer{Name: fmt.Sprint("phone-", n), PublicKey: schema.StaticKey{n}, AllowedIPs: []netip.Prefix{address}, Advertise: true})
		keys = append(keys, n)
	}
	slices.SortFunc(phones, func(a, b mesh.Affiliate) int { return slices.Compare([]byte(a.NodeID), []byte(b.NodeID)) })
	var pass *reconciler.Pass
	for n := range 3 {
		now := start.Add(time.Duration(n) * time.Second)
		if n > 0 {
			kernel.edit(up(now, keys...))
		}
		var err error
		if pass, err = engine.Run(t.Context(), now, &described, complete(phones...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(pass.Local.KubeSpan.AdditionalAddresses); n < 20 || n > 60 {
		t.Errorf("%d networks are announced", n)
	}
	if !slices.ContainsFunc(pass.Conditions, func(c condition.Condition) bool { return c.Code == condition.TooManyEndpoints }) {
		t.Errorf("the conditions are %v", pass.Conditions)
	}
}
