package reconciler_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// conditionsOf returns the IDs of the conditions of an agent that has run for some time, with a
// pass each second. The peer with key 1 is up.
func conditionsOf(t *testing.T, kubespan string, known reconciler.Knowledge) []string {
	t.Helper()
	engine, kernel, store := newEngine()
	engine.Started = start
	c := config(t, kubespan)
	for second := range 100 {
		now := start.Add(time.Duration(second) * time.Second)
		if _, err := engine.Run(t.Context(), now, c, known); err != nil {
			t.Fatal(err)
		}
		kernel.edit(up(now.Add(time.Millisecond), 1))
	}
	var ids []string
	for _, r := range store.List(resource.Conditions) {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestConditionsOfMembers(t *testing.T) {
	named := func(n byte, name string) mesh.Affiliate {
		a := affiliate(n, "10.0.0."+string('0'+rune(n))+":51820")
		a.Nodename = name
		return a
	}
	key := func(n byte) string { return mesh.Key{n}.String() }
	anew := named(3, "vm")
	anew.KubeSpan.Address = affiliate(1).KubeSpan.Address
	with := func(change func(*reconciler.Knowledge), affiliates ...mesh.Affiliate) reconciler.Knowledge {
		known := complete(affiliates...)
		change(&known)
		return known
	}
	sealed := func(k *reconciler.Knowledge) {
		k.Refused, k.Unreadable = map[string]string{"z": "sealed"}, []string{"z"}
	}
	for _, test := range []struct {
		name, kubespan string
		known          reconciler.Knowledge
		want           []string
	}{
		{"a healthy mesh", "", complete(named(1, "db1")), nil},
		{"alone", "", complete(), []string{"NoOtherMembers"}},
		{"alone, as far as is known", "", reconciler.Knowledge{}, nil},
		{"a peer is not reached", "", complete(named(1, "db1"), named(2, "db2")), []string{"PeerUnreachable/db2"}},
		{"a hostname twice", "", complete(named(1, "vm"), named(2, "vm")), []string{"HostnameRepeated/vm", "PeerUnreachable/" + key(2)}},
		{"a hostname twice, and names in the mesh", "enabled: true, names: {enabled: true}", complete(named(1, "vm.a.example"), named(2, "VM.b.example")),
			[]string{"HostnameRepeated/vm", "PeerUnreachable/VM.b.example"}},
		{"set up anew", "", complete(named(1, "vm"), anew), []string{"AddressClash/" + anew.KubeSpan.Address.String(), "PeerUnreachable/" + key(3)}},
		{"the hostname of this machine", "", complete(named(1, "self")), []string{"HostnameRepeated/self"}},
		{"a secret differs there", "", with(sealed, named(1, "db1")), []string{"SecretDiffersThere/z"}},
		{"a secret differs here", "", with(sealed), []string{"SecretDiffers"}},
		{"a secret differs here, and a machine is known from before", "", with(func(k *reconciler.Knowledge) {
			sealed(k)
			k.Unreadable[0], k.Refused = affiliate(1).NodeID, map[string]string{affiliate(1).NodeID: "sealed"}
		}, named(1, "db1")), []string{"SecretDiffers"}},
		{"offered, not forwarding", "relay: forwarding: offer: true", complete(named(1, "db1")), []string{"RelayNotForwarding"}},
	} {
		if got := conditionsOf(t, test.kubespan, test.known); !slices.Equal(got, test.want) {
			t.Errorf("%s: conditions are %q, want %q", test.name, got, test.want)
		}
	}
}

// TestMachineThatCannotBeReadAnyMoreIsNamed has a machine whose cluster secret changes.
func TestMachineThatCannotBeReadAnyMoreIsNamed(t *testing.T) {
	engine, _, store := newEngine()
	engine.Started = start
	c := config(t, "")
	one, two := affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820")
	two.Nodename, two.Addresses = "db2", []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	known := complete(one, two)
	for second := range 100 {
		if second > 0 {
			known = complete(one)
			known.Refused, known.Unreadable = map[string]string{two.NodeID: "sealed"}, []string{two.NodeID}
		}
		if _, err := engine.Run(t.Context(), start.Add(time.Duration(second)*time.Second), c, known); err != nil {
			t.Fatal(err)
		}
	}
	want := two.NodeID + ", which was db2 (10.0.0.2), cannot be read"
	for _, r := range store.List(resource.Conditions) {
		if spec, is := r.Spec.(resource.Condition); is && spec.Code == "SecretDiffersThere" {
			if spec.Cause != want {
				t.Errorf("the cause is %q, want %q", spec.Cause, want)
			}
			return
		}
	}
	t.Error("SecretDiffersThere is missing")
}

// TestNamesOfMachinesThatAreGone has the names of machines forgotten once many are gone, and not those of machines
// that cannot be read any more, nor before all registries have answered.
func TestNamesOfMachinesThatAreGone(t *testing.T) {
	engine, _, _ := newEngine()
	var hundred []mesh.Affiliate
	for n := byte(1); n <= 100; n++ {
		hundred = append(hundred, affiliate(n))
	}
	known := complete(hundred...)
	slices.SortFunc(known.Affiliates, func(a, b *mesh.Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	gone, sealed := reconciler.Knowledge{Version: 2}, complete()
	sealed.Version, sealed.Refused, sealed.Unreadable = 3, map[string]string{affiliate(1).NodeID: "sealed"}, []string{affiliate(1).NodeID}
	for i, step := range []struct {
		name  string
		known reconciler.Knowledge
		want  int
	}{
		{"all are there", known, 101},
		{"a registry has not answered", gone, 101},
		{"one cannot be read, the others are gone", sealed, 2},
	} {
		if _, err := engine.Run(t.Context(), start.Add(time.Duration(i)*time.Second), config(t, ""), step.known); err != nil {
			t.Fatal(err)
		}
		if got := engine.Remembered(); got != step.want {
			t.Errorf("%s: %d names are kept, want %d", step.name, got, step.want)
		}
	}
}
