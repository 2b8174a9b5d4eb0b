package resolved

import (
	"net/netip"
	"slices"
	"testing"
)

func TestUses(t *testing.T) {
	for name, c := range map[string]struct {
		nsswitch, resolvConf string
		want                 bool
	}{
		"its module":              {"passwd: files\nhosts: files mymachines resolve [!UNAVAIL=return] dns\n", "nameserver 192.0.2.1\n", true},
		"its stub":                {"hosts:\tfiles dns\n", "# comment\nnameserver 127.0.0.53\noptions edns0 trust-ad\n", true},
		"neither":                 {"hosts: files dns\n", "nameserver 192.0.2.1\n", false},
		"it is in a comment":      {"hosts: files dns # resolve\n#hosts: resolve\n", "#nameserver 127.0.0.53\n", false},
		"of another database":     {"networks: resolve\n", "search 127.0.0.53\n", false},
		"there are no such files": {"", "", false},
	} {
		if Uses(c.nsswitch, c.resolvConf) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}

func TestChanges(t *testing.T) {
	link := &Link{Name: "kubespan", Index: 3, Server: netip.MustParseAddr("fd00::1"), Domains: []string{"span.internal", "d.f.ip6.arpa"}}
	set := settings{servers: []server{{10, link.Server.AsSlice()}}, domains: []domain{{"span.internal", true}, {"d.f.ip6.arpa", true}}, dnssec: "no", tls: "no"}
	methods := func(now settings) (all []string) {
		for _, c := range changes(link, now) {
			all = append(all, c.method)
		}
		return all
	}
	if got := methods(set); got != nil {
		t.Errorf("%v changes what is so already", got)
	}
	fresh := settings{defaultRoute: true, dnssec: "allow-downgrade", tls: "yes"}
	if got := methods(fresh); !slices.Equal(got, []string{"SetLinkDefaultRoute", "SetLinkDomains", "SetLinkDNSSEC", "SetLinkDNSOverTLS", "SetLinkDNS"}) {
		t.Errorf("%v", got)
	}
	other := set
	other.servers = append(slices.Clone(set.servers), server{2, []byte{192, 0, 2, 1}})
	other.domains = []domain{{"span.internal", false}, {"d.f.ip6.arpa", true}}
	if got := methods(other); !slices.Equal(got, []string{"SetLinkDomains", "SetLinkDNS"}) {
		t.Errorf("%v", got)
	}
	link.Server = netip.MustParseAddr("127.1.2.53")
	if got := changes(link, set); len(got) != 1 || got[0].arguments[1].([]server)[0].Family != 2 {
		t.Errorf("%v", got)
	}
}
