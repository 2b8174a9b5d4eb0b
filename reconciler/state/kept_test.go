package state_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// The kernel masks networks and keeps each once: a desired state that does not would never be
// reached.
func TestNetworksAreNormalizedAsTheKernelKeepsThem(t *testing.T) {
	shared := prefixes("::ffff:1.2.3.0/120", "fd00::1/64", "10.1.2.3/8", "10.0.0.0/8", "1.2.3.0/24")
	before := slices.Clone(shared)
	s := state.State{Peers: []state.Peer{{PublicKey: mesh.Key{1}, AllowedIPs: shared}}, Firewall: state.Firewall{Networks: shared}}
	s.Normalize()
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	want := prefixes("1.2.3.0/24", "10.0.0.0/8", "fd00::/64")
	if diff := cmp.Diff(want, s.Peers[0].AllowedIPs, compare); diff != "" {
		t.Errorf("allowed IPs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, s.Firewall.Networks, compare); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, shared, compare); diff != "" {
		t.Errorf("a list that is shared was changed (-want +got):\n%s", diff)
	}
}

// A link with another name gets its name back, and its routes stay.
func TestRenamedLinkIsOneChange(t *testing.T) {
	desired := state.State{Link: state.Link{Name: "kubespan", Up: true},
		Routes: []state.Route{{Family: state.IPv4, Destination: state.IPv4.Everything(), Table: 180, Link: "kubespan"}}}
	live := desired
	live.Link.Name = "zz0"
	live.Routes = slices.Clone(live.Routes)
	live.Routes[0].Link = "zz0"
	plan := state.Diff(desired, live)
	if len(plan) != 1 {
		t.Fatalf("the plan is %v", plan)
	}
	c, is := plan[0].(state.LinkChange)
	if !is || !c.Renames() || c.ResetsDevice() || live.Routes[0].Link != "zz0" {
		t.Errorf("the plan is %v", plan)
	}
	if impact := plan.Impact(); len(impact) != 0 {
		t.Errorf("the plan interrupts %v", impact)
	}
}

func TestIPv6IsEnabledBeforeAddressesAreAdded(t *testing.T) {
	desired := state.State{Link: state.Link{Name: "kubespan", Up: true}, Addresses: prefixes("fd00::1/64")}
	plan := state.Diff(desired, state.State{IPv6Off: true})
	if len(plan) != 3 {
		t.Fatalf("the plan is %v", plan)
	}
	if c, is := plan[1].(state.IPv6Change); !is || c.Link != "kubespan" {
		t.Errorf("the second change is %v", plan[1])
	}
}
