package netlinkapply_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/state"
)

// TestUnchangedTablesAreNotReadAgain counts what a reading allocates: each network of a set that is
// read is several allocations.
func TestUnchangedTablesAreNotReadAgain(t *testing.T) {
	const peers = 1600
	k := open(t)
	in := inputs(t, peers)
	desired := state.Build(in)
	desired.Peers = nil
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)
	scope := state.ScopeOf(&in.KubeSpan)
	observe := func(k *netlinkapply.Kernel) state.State {
		t.Helper()
		live, err := k.Observe(scope)
		if err != nil {
			t.Fatal(err)
		}
		return live
	}
	again := testing.AllocsPerRun(3, func() { observe(k) })
	whole := testing.AllocsPerRun(1, func() {
		fresh := open(t)
		observe(fresh)
	})
	if again > 4*peers || whole < 20*peers {
		t.Errorf("a reading is %.0f allocations, the first one %.0f", again, whole)
	}
	// A caller may sort and cut what it was given.
	changed := observe(k)
	clear(changed.Firewall.Chains)
	clear(changed.Firewall.Guard.Chains)

	conn := &nftables.Conn{}
	foreign := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.DelTable(foreign)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	})
	for _, what := range []string{"the generation has changed", "it is the same"} {
		if diff := cmp.Diff(observe(open(t)).Firewall, observe(k).Firewall, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// TestUnchangedPeersMakeNoGarbage counts what readings of a device allocate that does not change.
func TestUnchangedPeersMakeNoGarbage(t *testing.T) {
	const peers = 1000
	k := open(t)
	in := inputs(t, peers)
	in.KubeSpan.PersistentKeepalive = 0
	scope := state.ScopeOf(&in.KubeSpan)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))
	read := func() {
		if _, read, err := k.Device(scope); err != nil || len(read) != peers {
			t.Error(len(read), err)
		}
	}
	read()
	if n := testing.AllocsPerRun(5, read); n > peers/2 {
		t.Errorf("a reading of %d peers is %.0f allocations", peers, n)
	}
	live, err := k.Observe(scope)
	if err != nil {
		t.Fatal(err)
	}
	clear(live.Peers) // the caller may change the list
	if _, read, err := k.Device(scope); err != nil || len(read) != peers || len(read[peers-1].AllowedIPs) != 2 || !read[peers-1].Endpoint.IsValid() {
		t.Errorf("%d peers, %v", len(read), err)
	}
}

// TestFailedTransactionLeavesNoAnswer has transactions that the kernel refuses with an error for each of
// their messages, before others on the same socket.
func TestFailedTransactionLeavesNoAnswer(t *testing.T) {
	k := open(t)
	desired := state.Build(inputs(t, 3))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	bad := state.NetworksChange{Table: "missing", Guard: "missing-too", Added: networks}
	for range 3 {
		if r := k.Apply(t.Context(), scopeOf(t), state.Plan{bad}); r.Err == nil {
			t.Fatal("a change of no table is no error")
		}
		desired.Firewall.Networks, desired.Firewall.Guard.Networks = desired.Firewall.Networks[1:], desired.Firewall.Guard.Networks[1:]
		if n := reach(t, k, desired); n != 1 {
			t.Errorf("took %d changes", n)
		}
	}
}
