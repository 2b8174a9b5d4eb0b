package mesh

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// compare compares addresses, prefixes and endpoints by value.
var compare = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}),
	cmpopts.EquateEmpty(),
}

// addrs, prefixes and addrPorts parse lists for tables.

func addrs(list ...string) []netip.Addr         { return each(netip.MustParseAddr, list) }
func prefixes(list ...string) []netip.Prefix    { return each(netip.MustParsePrefix, list) }
func addrPorts(list ...string) []netip.AddrPort { return each(netip.MustParseAddrPort, list) }
func each[T any](f func(string) T, l []string) (out []T) {
	for _, text := range l {
		out = append(out, f(text))
	}
	return out
}

func TestMerge(t *testing.T) {
	service := []*Affiliate{
		{NodeID: "b", Addresses: addrs("10.0.0.2", "10.0.0.3"), Hostname: "b", MachineType: MachineTypeWorker,
			KubeSpan: KubeSpan{PublicKey: Key{1}, Endpoints: addrPorts("10.0.0.2:1")}},
		{NodeID: "a", Hostname: "a"},
	}
	kubernetes := []*Affiliate{
		{NodeID: "b", Addresses: addrs("10.0.0.3", "10.0.0.4"), Nodename: "kube-b", OperatingSystem: "Linux",
			KubeSpan: KubeSpan{Address: netip.MustParseAddr("fd00::b"), Endpoints: addrPorts("10.0.0.4:1", "10.0.0.2:1")}},
		{NodeID: "c", Hostname: "c"},
	}
	want := []*Affiliate{
		{NodeID: "a", Hostname: "a"},
		{NodeID: "b", Addresses: addrs("10.0.0.2", "10.0.0.3", "10.0.0.4"), Hostname: "b", Nodename: "kube-b", MachineType: MachineTypeWorker,
			OperatingSystem: "Linux",
			KubeSpan:        KubeSpan{PublicKey: Key{1}, Address: netip.MustParseAddr("fd00::b"), Endpoints: addrPorts("10.0.0.2:1", "10.0.0.4:1")}},
		{NodeID: "c", Hostname: "c"},
	}
	if diff := cmp.Diff(want, Merge(service, kubernetes), compare); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	if len(service[0].Addresses) != 2 || service[0].Nodename != "" {
		t.Errorf("the argument was changed: %+v", service[0])
	}
}

func TestMembers(t *testing.T) {
	got := Members([]*Affiliate{
		{NodeID: "3", Nodename: "b"},
		{NodeID: "2", Hostname: "nameless"},
		{NodeID: "1", Nodename: "b", Addresses: addrs("10.0.0.1"), KubeSpan: KubeSpan{Address: netip.MustParseAddr("fd00::1")}},
		{NodeID: "4", Nodename: "a"},
	})
	want := []Member{
		{ID: "a", NodeID: "4", Nodename: "a"},
		{ID: "b/1", NodeID: "1", Nodename: "b", Addresses: addrs("10.0.0.1", "fd00::1")},
		{ID: "b/3", NodeID: "3", Nodename: "b"},
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// TestMergeSorted has lists merged as they are, and in an order in which they are no longer sorted.
func TestMergeSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		var lists [2][]*Affiliate
		for i := range lists {
			for _, id := range []string{"a", "b", "c", "static:x", "static:y"} {
				if r.IntN(2) == 0 {
					lists[i] = append(lists[i], &Affiliate{NodeID: id, Hostname: []string{"", "h", "k"}[r.IntN(3)], Static: id == "static:y"})
				}
			}
		}
		shuffled := [2][]*Affiliate{slices.Clone(lists[0]), slices.Clone(lists[1])}
		slices.Reverse(shuffled[0])
		slices.Reverse(shuffled[1])
		if want, got := Merge(nil, shuffled[0], shuffled[1]), Merge(lists[0], lists[1]); len(want)+len(got) > 0 && !reflect.DeepEqual(want, got) {
			t.Fatalf("%v and %v are %v, want %v", lists[0], lists[1], got, want)
		}
		if want, got := Merge(nil, shuffled[0], nil), Merge(lists[0]); len(want)+len(got) > 0 && !reflect.DeepEqual(want, got) {
			t.Fatalf("%v is %v, want %v", lists[0], got, want)
		}
	}
}
