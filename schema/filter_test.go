package schema

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// filtersOf parses a list of filters, separated by spaces.
func filtersOf(t *testing.T, text string) (filters []Filter) {
	t.Helper()
	for _, one := range strings.Fields(text) {
		var f Filter
		if err := f.UnmarshalText([]byte(one)); err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f)
	}
	return filters
}

func TestPasses(t *testing.T) {
	for _, c := range []struct{ name, filters, pass, stop string }{
		{"without entries all pass", "", "10.0.0.1 2001:db8::1", ""},
		{"including some excludes the rest", "10.0.0.0/8", "10.0.0.1", "192.168.0.1 2001:db8::1"},
		{"excluding alone lets nothing through", "!192.168.0.0/16", "", "192.168.0.1 10.0.0.1 2001:db8::1"},
		{"excluding after everything", "0.0.0.0/0 ::/0 !192.168.0.0/16", "10.0.0.1 2001:db8::1", "192.168.0.1"},
		{"a part of what is excluded is included again", "10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24", "10.0.0.1 10.1.2.3", "10.1.3.1 11.0.0.1"},
		{"what comes later decides, not what is longer", "!10.1.0.0/16 10.0.0.0/8", "10.0.0.1 10.1.0.1", "11.0.0.1"},
		{"an exclusion after a longer inclusion", "10.1.0.0/24 !10.1.0.0/16", "", "10.1.0.1"},
		{"single addresses", "0.0.0.0/0 !192.168.1.5 2001:db8::5", "192.168.1.4 2001:db8::5", "192.168.1.5 2001:db8::6"},
		{"one IP version can be left out", "0.0.0.0/0", "10.0.0.1", "2001:db8::1"},
		{"IPv4 written as IPv6 matches nothing", "::ffff:10.0.0.0/104", "", "10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			filters := filtersOf(t, c.filters)
			for want, list := range map[bool]string{true: c.pass, false: c.stop} {
				for _, text := range strings.Fields(list) {
					if Passes(filters, netip.MustParseAddr(text)) != want {
						t.Errorf("%s passes: %v", text, !want)
					}
				}
			}
		})
	}
}

// TestPassesIsSetArithmetic compares random filters with their meaning as sets: from nothing, each
// entry in its turn adds or removes the addresses of the machine that it contains.
func TestPassesIsSetArithmetic(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if random.IntN(3) == 0 {
			return netip.AddrFrom16([16]byte{0x20, 0x01, 15: byte(random.IntN(8))})
		}
		return netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), 0, byte(random.IntN(8))})
	}
	for range 20_000 {
		var filters []Filter
		for range random.IntN(6) {
			a := address()
			prefix := netip.PrefixFrom(a, []int{0, 7, 15, a.BitLen() - 3, a.BitLen() - 1, a.BitLen()}[random.IntN(6)]).Masked()
			filters = append(filters, Filter{Prefix: prefix, Exclude: random.IntN(2) == 0})
		}
		all := make([]netip.Addr, 1+random.IntN(8))
		for i := range all {
			all[i] = address()
		}
		all = distinct(all)
		kept := map[netip.Addr]bool{}
		for _, f := range filters {
			for _, a := range all {
				if f.Prefix.Contains(a) {
					kept[a] = !f.Exclude
				}
			}
		}
		for _, a := range all {
			if want := kept[a] || len(filters) == 0; Passes(filters, a) != want {
				t.Fatalf("%v lets %s through: %v", filters, a, !want)
			}
		}
		if want := selected(filters, all); !slices.Equal(Select(filters, all), want) {
			t.Fatalf("%v selects %v of %v, want %v", filters, Select(filters, all), all, want)
		}
	}
}

// selected applies the entries to a list one after the other.
func selected(filters []Filter, all []netip.Addr) []netip.Addr {
	if len(filters) == 0 {
		return all
	}
	list := []netip.Addr{}
	for _, f := range filters {
		for _, a := range all {
			at := slices.Index(list, a)
			switch {
			case !f.Prefix.Contains(a):
			case f.Exclude && at >= 0:
				list = slices.Delete(list, at, at+1)
			case !f.Exclude && at < 0:
				list = append(list, a)
			}
		}
	}
	return list
}

func distinct(all []netip.Addr) (list []netip.Addr) {
	for _, a := range all {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

func TestFilterText(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3/8": "10.0.0.0/8", "!192.168.1.5": "!192.168.1.5/32", "2001:db8::5": "2001:db8::5/128", "!::/0": "!::/0",
		"fe80::1%eth0": "fe80::1/128",
		"!!10.0.0.0/8": "", "! 10.0.0.0/8": "", "": "", "!": "", "10.0.0.0/33": "", "eth0": "", "10.0.0.1:80": "",
	} {
		var f Filter
		err := f.UnmarshalText([]byte(text))
		if (err == nil) != (want != "") || err == nil && f.String() != want {
			t.Errorf("%q is %s, %v; want %q", text, f, err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ filters, want string }{
		{"", ""},
		{"10.0.0.0/8", ""},
		{"0.0.0.0/0 ::/0 !192.168.0.0/16", ""},
		{"10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24", ""},
		{"!192.168.0.0/16", "lets nothing through"},
		{"10.1.0.0/24 !10.1.0.0/16", "lets nothing through"},
		{"!10.1.0.0/16 10.0.0.0/8", "has !10.1.0.0/16 where it excludes nothing"},
		{"0.0.0.0/0 !fd00::/8 ::/0", "has !fd00::/8 where it excludes nothing"},
		{"10.0.0.0/8 !10.0.0.0/8", "lets nothing through"},
		{"::ffff:10.0.0.0/104", "lets nothing through"},
		{"10.0.0.0/8 !::ffff:10.1.0.0/112", "has !::ffff:10.1.0.0/112, which matches nothing: write 10.1.0.0/16"},
		{"10.0.0.0/8 !10.0.0.0/9", ""},
		{"!10.0.0.0/8 10.1.0.0/16 !10.1.0.0/17 !10.1.128.0/17 10.1.2.3/32", "has !10.0.0.0/8 where it excludes nothing"},
	} {
		for _, name := range []string{"endpoints", "peerEndpoints", "peerNetworks"} {
			config := &Config{}
			f := &config.KubeSpan().Filters
			*map[string]*[]Filter{"endpoints": &f.Endpoints, "peerEndpoints": &f.PeerEndpoints, "peerNetworks": &f.PeerNetworks}[name] = filtersOf(t, c.filters)
			got := strings.Join(config.Warnings(), "\n")
			if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, "filters."+name+" "+c.want) {
				t.Errorf("%s: %q: %q, want %q", name, c.filters, got, c.want)
			}
		}
	}
	// Two exclusions cover every address that is included, but no network as a whole.
	for _, text := range []string{"10.0.0.0/8 !10.0.0.0/9 !10.128.0.0/9", "::/0 !::/1 !8000::/2 !c000::/2"} {
		config := &Config{}
		f := &config.KubeSpan().Filters
		f.Endpoints, f.PeerNetworks = filtersOf(t, text), filtersOf(t, text)
		if got := config.Warnings(); len(got) != 1 || !strings.Contains(got[0], "filters.endpoints lets nothing through") {
			t.Errorf("%s: got %q", text, got)
		}
	}
	long := &Config{}
	long.KubeSpan().Filters.Endpoints = slices.Repeat(filtersOf(t, "!10.0.0.0/8"), 10_000)
	if len(long.Warnings()) > 1 {
		t.Errorf("got %q", long.Warnings())
	}
	long.Cluster.ID = "my-cluster"
	if got := strings.Join(long.Warnings(), "\n"); !strings.Contains(got, "cluster.id ") {
		t.Errorf("got %q", got)
	}
}

func TestURLs(t *testing.T) {
	for endpoint, want := range map[ServiceURL]string{
		"grpc://discovery.example.com":      "https://discovery.example.com",
		"GRPC://discovery.example.com:3000": "https://discovery.example.com:3000",
		"https://discovery.example.com/":    "https://discovery.example.com/",
		"http://127.0.0.1:3000":             "http://127.0.0.1:3000",
	} {
		for _, r := range []ServiceRegistry{{Endpoint: endpoint}, {Endpoint: "https://other.example/", Endpoints: []ServiceURL{endpoint}}} {
			if got := r.URLs(); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q", endpoint, got)
			}
		}
	}
	if (ServiceRegistry{Disabled: true, Endpoint: "https://other.example/"}).URLs() != nil {
		t.Error("a disabled registry has URLs")
	}
}

// TestFiltersOfTheDocument does what each row of the table in docs/mesh.md says.
func TestFiltersOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/mesh.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- filters: tested by go test ./schema -->\n")
	table, _, found := strings.Cut(rest, "<!-- end of filters -->")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if !found || len(lines) < 8 {
		t.Fatal("there is no table of filters")
	}
	for _, line := range lines[2:] {
		cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
		filters := filtersOf(t, strings.NewReplacer("[", "", "]", "", `"`, "", ",", "").Replace(cells[1]))
		for i, passes := range []bool{true, false} {
			for _, address := range strings.Fields(cells[2+i]) {
				if Passes(filters, netip.MustParseAddr(address)) != passes {
					t.Errorf("%s lets %s through: %v", cells[1], address, !passes)
				}
			}
		}
	}
}
