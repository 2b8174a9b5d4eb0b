package names

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
)

const domain = "span.internal"

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"web2":                          "web2",
		"Web2":                          "web2",
		"db1.example.com":               "db1",
		"db1.":                          "db1",
		"0-9":                           "0-9",
		"xn--bcher-kva":                 "xn--bcher-kva",
		strings.Repeat("a", 63):         strings.Repeat("a", 63),
		"":                              "",
		".":                             "",
		".web2":                         "",
		"*":                             "",
		"*.web2":                        "",
		"my_host":                       "",
		"-web2":                         "",
		"web2-":                         "",
		"bücher":                        "",
		"web2\n127.0.0.1 bank.example":  "",
		"web2 bank":                     "",
		"localhost":                     "",
		"LOCALHOST.localdomain":         "",
		"wpad":                          "",
		"10.0.0.5":                      "",
		"fd00::5":                       "",
		strings.Repeat("a", 64):         "",
		"a." + strings.Repeat("b", 252): "",
	} {
		label, ok := Label(name)
		if ok != (want != "") || ok && label != want {
			t.Errorf("%q is found as %q, %v, want %q", name, label, ok, want)
		}
	}
}

func FuzzLabel(f *testing.F) {
	for _, name := range []string{"web2", "Web2.example.com", "-", "*", "xn--a", "10.0.0.5", "K.example", "a\x00b"} {
		f.Add(name, "node")
	}
	f.Fuzz(func(t *testing.T, name, nodeID string) {
		label, ok := Label(name)
		if !ok {
			return
		}
		for _, label := range []string{label, Suffixed(label, nodeID)} {
			if again, ok := Label(label); !ok || again != label {
				t.Errorf("%q of %q is no label: %q, %v", label, name, again, ok)
			}
			if strings.ContainsFunc(label, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) || len(label) > maxLabel {
				t.Errorf("%q of %q has what no host name has", label, name)
			}
		}
	})
}

func address(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
}

// of returns a member with an address that follows from its node ID.
func of(nodeID string, hostname string, nodename ...string) Member {
	m := Member{NodeID: nodeID, Hostname: hostname, Nodename: strings.Join(nodename, "")}
	m.Addresses = []netip.Addr{address(int(nodeID[1] - '0'))}
	return m
}

func TestNames(t *testing.T) {
	for name, c := range map[string]struct {
		members []Member
		// want has the labels of each node.
		want map[string][]string
	}{
		"none":                               {nil, map[string][]string{}},
		"each has its own":                   {[]Member{of("n1", "web1"), of("n2", "Web2.example.com")}, map[string][]string{"n1": {"web1"}, "n2": {"web2"}}},
		"a Node of another name":             {[]Member{of("n1", "web1", "ip-10-0-0-1.ec2.internal")}, map[string][]string{"n1": {"web1", "ip-10-0-0-1"}}},
		"a Node of the same name":            {[]Member{of("n1", "web1", "WEB1.example.com")}, map[string][]string{"n1": {"web1"}}},
		"a Node alone":                       {[]Member{of("n1", "", "web1")}, map[string][]string{"n1": {"web1"}}},
		"two with one name":                  {[]Member{of("n1", "vm"), of("n2", "vm")}, map[string][]string{"n1": {"vm-" + hash1}, "n2": {"vm-" + hash2}}},
		"two in different domains":           {[]Member{of("n1", "vm.a.example"), of("n2", "VM.b.example")}, map[string][]string{"n1": {"vm-" + hash1}, "n2": {"vm-" + hash2}}},
		"a Node with the name of a machine":  {[]Member{of("n1", "vm"), of("n2", "web2", "vm")}, map[string][]string{"n1": {"vm-" + hash1}, "n2": {"web2", "vm-" + hash2}}},
		"no host names":                      {[]Member{of("n1", "my_host"), of("n2", "*"), of("n3", "localhost")}, map[string][]string{}},
		"one takes the name of one of two":   {[]Member{of("n1", "vm"), of("n2", "vm"), of("n3", "vm-"+hash1)}, map[string][]string{"n1": {"vm-" + hash1}, "n2": {"vm-" + hash2}}},
		"one has such a name before":         {[]Member{of("n1", "vm"), of("n3", "vm-"+hash1)}, map[string][]string{"n1": {"vm"}, "n3": {"vm-" + hash1}}},
		"a label that leaves no room":        {[]Member{of("n1", strings.Repeat("a", 63)), of("n2", strings.Repeat("a", 63))}, map[string][]string{"n1": {strings.Repeat("a", 58) + "-" + hash1}, "n2": {strings.Repeat("a", 58) + "-" + hash2}}},
		"a hyphen where the label is cut":    {[]Member{of("n1", strings.Repeat("a", 57)+"-bbbbb"), of("n2", strings.Repeat("a", 57)+"-bbbbb")}, map[string][]string{"n1": {strings.Repeat("a", 57) + "-" + hash1}, "n2": {strings.Repeat("a", 57) + "-" + hash2}}},
		"both labels are cut to the same":    {[]Member{of("n1", strings.Repeat("a", 60), strings.Repeat("a", 61)), of("n2", strings.Repeat("a", 60), strings.Repeat("a", 61))}, map[string][]string{"n1": {strings.Repeat("a", 58) + "-" + hash1}, "n2": {strings.Repeat("a", 58) + "-" + hash2}}},
		"a Node called as one of several is": {[]Member{of("n1", "vm", "vm-"+hash1), of("n2", "vm")}, map[string][]string{"n1": {"vm-" + hash1}, "n2": {"vm-" + hash2}}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				rand.Shuffle(len(c.members), func(i, j int) { c.members[i], c.members[j] = c.members[j], c.members[i] })
				table := Make(domain, c.members)
				got := map[string][]string{}
				for _, h := range table.Hosts {
					got[h.NodeID] = h.Labels
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Fatal(diff)
				}
				if len(table.Hosts)+len(table.Unnamed) != len(c.members) {
					t.Errorf("%d have names, %d have none, of %d", len(table.Hosts), len(table.Unnamed), len(c.members))
				}
			}
		})
	}
}

// hash1 and hash2 tell the nodes n1 and n2 apart.
var hash1, hash2 = strings.TrimPrefix(Suffixed("", "n1"), "-"), strings.TrimPrefix(Suffixed("", "n2"), "-")

func TestLookup(t *testing.T) {
	web := Member{NodeID: "n1", Hostname: "web1", Addresses: []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd00::1")}}
	table := Make(domain, []Member{web, of("n2", "web2")})
	for _, name := range []string{"web1.span.internal", "WEB1.Span.Internal."} {
		if h, found := table.Lookup(name); !found || len(h.Addresses) != 2 || !h.Addresses[0].Is4() {
			t.Errorf("%s: %v, %v", name, h, found)
		}
	}
	for _, name := range []string{"web1", "web1.", "web1.internal", "a.web1.span.internal", "span.internal", ".span.internal", "", "web1.span.internal..", "web1.span.internal.example"} {
		if h, found := table.Lookup(name); found {
			t.Errorf("%q is %v", name, h)
		}
	}
	for name, want := range map[string]string{
		"1.0.99.10.in-addr.arpa.": "n1",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.IP6.ARPA": "n1",
		"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa": "n2",
		"2.0.99.10.in-addr.arpa": "",
		"99.10.in-addr.arpa":     "",
	} {
		if h, found := table.Pointer(name); h.NodeID != want || found != (want != "") {
			t.Errorf("%s: %v, %v, want %q", name, h, found, want)
		}
	}
}

func TestMembersWithoutAnAddressTakeNoName(t *testing.T) {
	before := of("n2", "web1")
	before.Addresses = nil
	table := Make(domain, []Member{of("n1", "web1"), before})
	if h, found := table.Lookup("web1.span.internal"); !found || h.NodeID != "n1" || !slices.Equal(table.Unnamed, []string{"n2"}) {
		t.Errorf("%v, %v, %v", h, found, table.Unnamed)
	}
}

func TestOwnAddresses(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	a := mesh.Affiliate{
		Addresses:  []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.99.0.1")},
		Configured: prefixes("10.98.0.1/32", "10.97.0.0/24"),
		KubeSpan: mesh.KubeSpan{Address: netip.MustParseAddr("fd00::1"),
			AdditionalAddresses: prefixes("10.99.0.1/32", "10.99.0.2/32", "10.98.0.1/32", "10.97.0.0/24", "10.20.0.0/16")},
	}
	if got := fmt.Sprint(Candidates(&a)); got != "[fd00::1 10.99.0.1 10.98.0.1]" {
		t.Errorf("a machine's: %s", got)
	}
	phone := mesh.Affiliate{Static: true, KubeSpan: mesh.KubeSpan{AdditionalAddresses: prefixes("10.99.0.9/32", "fd00::9/128", "10.20.0.0/16")}}
	if got := fmt.Sprint(Candidates(&phone)); got != "[10.99.0.9 fd00::9]" {
		t.Errorf("a static peer's: %s", got)
	}
	if got := fmt.Sprint(Owned(Candidates(&a), prefixes("10.99.0.1/32", "10.98.0.0/16", "fd00::/64"))); got != "[10.99.0.1]" {
		t.Errorf("it owns %s", got)
	}
}

func TestAddressesAreBounded(t *testing.T) {
	m := of("n1", "web1")
	for i := range 1000 {
		m.Addresses = append(m.Addresses, address(i))
	}
	if h, _ := Make(domain, []Member{m}).Lookup("web1.span.internal"); len(h.Addresses) != MaxAddresses {
		t.Errorf("%d addresses", len(h.Addresses))
	}
}

func TestReverseZones(t *testing.T) {
	for network, want := range map[string][]string{
		"fd12:3456:789a:bcde::/64": {"e.d.c.b.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa"},
		"fd00::/7":                 {"c.f.ip6.arpa", "d.f.ip6.arpa"},
		"10.99.0.7/24":             {"0.99.10.in-addr.arpa"},
		"10.99.254.0/23":           {"254.99.10.in-addr.arpa", "255.99.10.in-addr.arpa"},
		"10.99.0.1/32":             {"1.0.99.10.in-addr.arpa"},
		"192.0.0.0/6":              {"192.in-addr.arpa", "193.in-addr.arpa", "194.in-addr.arpa", "195.in-addr.arpa"},
		"0.0.0.0/0":                {"in-addr.arpa"},
		"::/0":                     {"ip6.arpa"},
	} {
		if got := ReverseZones(netip.MustParsePrefix(network)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", network, got, want)
		}
	}
	if n := len(ReverseZones(netip.MustParsePrefix("255.255.255.255/25"))); n != 128 {
		t.Errorf("%d zones", n)
	}
}

func TestInZone(t *testing.T) {
	if !InZone(domain, domain) || !InZone("a.b."+domain, domain) || InZone("evil"+domain, domain) || InZone("internal", domain) {
		t.Error("wrong")
	}
}

func TestEqual(t *testing.T) {
	one, other := Make(domain, []Member{of("n1", "web1")}), Make(domain, []Member{of("n1", "web1"), of("n2", "*")})
	var none *Table
	if !one.Equal(Make(domain, []Member{of("n1", "WEB1")})) || one.Equal(other) || one.Equal(none) || none.Equal(one) || !none.Equal(nil) {
		t.Error("wrong")
	}
}

// FuzzMake has several machines of whatever names: no name is of two, and none is outside of the domain.
func FuzzMake(f *testing.F) {
	f.Add("vm", "vm", "vm-"+hash1, "vm.example")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		table := Make(domain, []Member{of("n1", a, d), of("n2", b, c), of("n3", c), of("n4", d, b)})
		owners := map[string]string{}
		for _, h := range table.Hosts {
			for _, label := range h.Labels {
				if other, taken := owners[label]; taken {
					t.Errorf("%s is %s and %s", label, other, h.NodeID)
				}
				owners[label] = h.NodeID
				if found, ok := table.Lookup(table.Name(label)); !ok || found.NodeID != h.NodeID || len(table.Name(label)) > maxName {
					t.Errorf("%s is not found: %v", label, found)
				}
			}
		}
	})
}

func BenchmarkMake(b *testing.B) {
	members := make([]Member, 5000)
	for i := range members {
		members[i] = Member{NodeID: fmt.Sprintf("node-%d", i), Hostname: fmt.Sprintf("vm-%d.example.com", i), Nodename: fmt.Sprintf("node-%d", i), Addresses: []netip.Addr{address(i)}}
	}
	for b.Loop() {
		Make(domain, members)
	}
}
