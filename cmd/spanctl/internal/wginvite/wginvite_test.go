package wginvite_test

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/cmd/spanctl/internal/wginvite"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func endpoints(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]string{
		"vpn.example.com":        "vpn.example.com:51820",
		"vpn.example.com:443":    "vpn.example.com:443",
		"192.0.2.1":              "192.0.2.1:51820",
		"192.0.2.1:443":          "192.0.2.1:443",
		"2001:db8::1":            "[2001:db8::1]:51820",
		"[2001:db8::1]":          "[2001:db8::1]:51820",
		"[2001:db8::1]:443":      "[2001:db8::1]:443",
		"vpn.example.com:0":      "",
		"vpn.example.com:65536":  "",
		"vpn example.com":        "",
		"vpn.example.com\nDNS=x": "",
		"127.0.0.1":              "",
		"fe80::1%eth0":           "",
		"":                       "",
	} {
		e, err := wginvite.ParseEndpoint(text, 51820)
		if got := e.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %s, %v, want %q", text, got, err, want)
		}
	}
}

func TestBestEndpoint(t *testing.T) {
	for _, test := range []struct {
		name                  string
		configured, announced []netip.AddrPort
		want                  string
		private               bool
	}{
		{"a public address before private ones", nil, endpoints("10.0.0.1:51820", "192.0.2.1:51820"), "192.0.2.1:51820", false},
		{"IPv4, which more networks have", nil, endpoints("[2001:db8::1]:51820", "192.0.2.1:51820"), "192.0.2.1:51820", false},
		{"that of the config", endpoints("192.0.2.9:443"), endpoints("192.0.2.1:51820"), "192.0.2.9:443", false},
		{"the announced one where the config's is private", endpoints("10.0.0.9:443"), endpoints("[2001:db8::1]:51820"), "[2001:db8::1]:51820", false},
		{"a private one for want of others", nil, endpoints("100.64.0.1:51820"), "100.64.0.1:51820", true},
	} {
		e, err := wginvite.BestEndpoint(test.configured, test.announced)
		if err != nil || e.String() != test.want || e.Private != test.private {
			t.Errorf("%s: got %s, private %v, %v", test.name, e, e.Private, err)
		}
	}
	if _, err := wginvite.BestEndpoint(nil, nil); !errors.Is(err, wginvite.ErrNoEndpoint) {
		t.Errorf("none is the error %v", err)
	}
}

func TestCheckName(t *testing.T) {
	peers := []schema.StaticPeer{{Name: "phone"}}
	for name, valid := range map[string]bool{"tablet": true, "a": true, "phone-2": true, strings.Repeat("a", 63): true,
		"phone": false, "": false, "-a": false, "a-": false, "Phone": false, "my phone": false, "a.b": false, "a\nb": false, strings.Repeat("a", 64): false} {
		if err := wginvite.CheckName(name, peers); (err == nil) != valid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestPeer(t *testing.T) {
	keys, err := wginvite.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subnet := netip.MustParsePrefix("fd00:0:0:2::/64")
	own := mesh.PeerAddress(subnet, keys.Private.Public())
	m := &wginvite.Mesh{Subnet: subnet, Taken: map[netip.Addr]string{netip.MustParseAddr("10.99.0.1"): "web1"},
		Networks: prefixes("10.99.0.0/24", "10.20.0.0/16", "192.0.2.0/24", "fd00:0:0:2::9/128", "0.0.0.0/0"), MTU: 1400}
	for _, test := range []struct {
		addresses []string
		want      []netip.Prefix
		fails     string
	}{
		{nil, []netip.Prefix{own}, ""},
		{[]string{"10.99.0.9"}, append([]netip.Prefix{own}, prefixes("10.99.0.9/32")...), ""},
		{[]string{"fd00:0:0:2::77"}, prefixes("fd00:0:0:2::77/128"), ""},
		{[]string{"10.99.0.1"}, nil, "the address 10.99.0.1 is that of web1"},
		{[]string{"ff02::1"}, nil, "the address ff02::1 is multicast"},
		{[]string{"10.99.0.9", "10.99.0.9"}, nil, "is given twice"},
	} {
		r := wginvite.Request{Name: "phone"}
		for _, text := range test.addresses {
			r.Addresses = append(r.Addresses, netip.MustParseAddr(text))
		}
		p, err := m.Peer(r, keys)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%q: %v", test.addresses, err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, p.AllowedIPs, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" || !p.Advertise {
			t.Errorf("%q: %v\n%s", test.addresses, err, diff)
		}
	}

	p, err := m.Peer(wginvite.Request{Name: "phone"}, keys)
	if err != nil {
		t.Fatal(err)
	}
	c, left, err := m.Config(p, keys, wginvite.Gateway{Name: "web1", PublicKey: mesh.Key{1}, Endpoint: wginvite.Endpoint{Host: "192.0.2.1", Port: 51820}})
	if err != nil {
		t.Fatal(err)
	}
	want := prefixes("10.20.0.0/16", "10.99.0.0/24", "fd00:0:0:2::/64")
	if diff := cmp.Diff(want, c.Peers[0].AllowedIPs, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(prefixes("192.0.2.0/24"), left, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("left out are:\n%s", diff)
	}
}
