package nameserver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/spanmesh/span/reconciler/names"
)

func testZone() *Zone {
	addresses := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	network := netip.MustParsePrefix("fd12:3456:789a:bcde::/64")
	return &Zone{
		Table: names.Make("span.internal", []names.Member{
			{NodeID: "n1", Hostname: "web1", Addresses: addresses("fd12:3456:789a:bcde::1")},
			{NodeID: "n2", Hostname: "web2", Nodename: "node-2", Addresses: addresses("fd12:3456:789a:bcde::2", "10.99.0.2")},
			{NodeID: "n3", Hostname: "phone", Addresses: addresses("192.0.2.9")},
		}),
		Reverse:  append(names.ReverseZones(network), "0.99.10.in-addr.arpa"),
		Networks: []netip.Prefix{network, netip.MustParsePrefix("10.99.0.0/24")},
	}
}

func TestAnswer(t *testing.T) {
	const zone6 = "e.d.c.b.a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa."
	web2 := "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0." + zone6
	for _, c := range []struct {
		name string
		kind uint16
		// rcode and what the answer section says.
		rcode int
		want  string
	}{
		{"web2.span.internal.", dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd12:3456:789a:bcde::2"},
		{"WEB2.Span.internal.", dns.TypeAAAA, dns.RcodeSuccess, "AAAA fd12:3456:789a:bcde::2"},
		{"web2.span.internal.", dns.TypeA, dns.RcodeSuccess, "A 10.99.0.2"},
		{"node-2.span.internal.", dns.TypeA, dns.RcodeSuccess, "A 10.99.0.2"},
		{"web2.span.internal.", dns.TypeANY, dns.RcodeSuccess, "A 10.99.0.2, AAAA fd12:3456:789a:bcde::2"},
		{"web1.span.internal.", dns.TypeA, dns.RcodeSuccess, ""},
		{"web1.span.internal.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"web9.span.internal.", dns.TypeAAAA, dns.RcodeNameError, ""},
		{"a.web1.span.internal.", dns.TypeAAAA, dns.RcodeNameError, ""},
		{"span.internal.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"span.internal.", dns.TypeSOA, dns.RcodeSuccess, "SOA span.internal. hostmaster.span.internal. 1 3600 600 86400 5"},
		{web2, dns.TypePTR, dns.RcodeSuccess, "PTR web2.span.internal."},
		{strings.ToUpper(web2), dns.TypePTR, dns.RcodeSuccess, "PTR web2.span.internal."},
		{web2, dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"9" + web2[1:], dns.TypePTR, dns.RcodeNameError, ""},
		{"0.0.0.0." + zone6, dns.TypePTR, dns.RcodeSuccess, ""},
		{zone6, dns.TypeSOA, dns.RcodeSuccess, "SOA " + zone6 + " hostmaster." + zone6 + " 1 3600 600 86400 5"},
		{"2.0.99.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "PTR web2.span.internal."},
		{"3.0.99.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"9.2.0.192.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "PTR phone.span.internal."},
		{"8.2.0.192.in-addr.arpa.", dns.TypePTR, dns.RcodeRefused, ""},
		{"web2.", dns.TypeAAAA, dns.RcodeRefused, ""},
		{"example.com.", dns.TypeAAAA, dns.RcodeRefused, ""},
		{"evilspan.internal.", dns.TypeAAAA, dns.RcodeRefused, ""},
		{"internal.", dns.TypeSOA, dns.RcodeRefused, ""},
		{".", dns.TypeNS, dns.RcodeRefused, ""},
	} {
		query := new(dns.Msg).SetQuestion(c.name, c.kind)
		answer := testZone().Answer(query)
		var got []string
		for _, rr := range answer.Answer {
			if rr.Header().Name != c.name || rr.Header().Ttl > ttl {
				t.Errorf("%s: %v", c.name, rr)
			}
			fields := strings.Fields(rr.String())
			got = append(got, strings.Join(fields[3:], " "))
		}
		if answer.Rcode != c.rcode || strings.Join(got, ", ") != c.want {
			t.Errorf("%s %s: %s %q, want %s %q", c.name, dns.TypeToString[c.kind], dns.RcodeToString[answer.Rcode], got, dns.RcodeToString[c.rcode], c.want)
		}
		if refused := c.rcode == dns.RcodeRefused; answer.Authoritative == refused || (len(answer.Ns) == 1) != (!refused && c.want == "") {
			t.Errorf("%s: authoritative %v, %v", c.name, answer.Authoritative, answer.Ns)
		}
		if _, err := answer.Pack(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAnswerOfOtherQueries(t *testing.T) {
	chaos := new(dns.Msg).SetQuestion("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	update := new(dns.Msg).SetUpdate("span.internal.")
	for _, query := range []*dns.Msg{chaos, update, {}} {
		if answer := testZone().Answer(query); answer.Rcode != dns.RcodeRefused || answer.RecursionAvailable {
			t.Errorf("%v", answer)
		}
	}
	edns := new(dns.Msg).SetQuestion("web1.span.internal.", dns.TypeAAAA).SetEdns0(4096, true)
	if answer := testZone().Answer(edns); answer.IsEdns0() == nil || answer.IsEdns0().UDPSize() != maxAnswer || len(answer.Answer) != 1 {
		t.Errorf("%v", answer)
	}
	edns.IsEdns0().SetVersion(1)
	if answer := testZone().Answer(edns); answer.Rcode != dns.RcodeBadVers || len(answer.Answer) != 0 {
		t.Errorf("%v", answer)
	}
}

// TestAnswersFit has a machine with as many addresses as there can be.
func TestAnswersFit(t *testing.T) {
	z := testZone()
	m := names.Member{NodeID: "n4", Hostname: strings.Repeat("a", 63)}
	for i := range names.MaxAddresses {
		m.Addresses = append(m.Addresses, netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)}))
	}
	z.Table = names.Make(strings.Repeat("b", 63)+"."+strings.Repeat("c", 63)+"."+strings.Repeat("d", 61), []names.Member{m})
	query := new(dns.Msg).SetQuestion(dns.Fqdn(z.Table.Name(m.Hostname)), dns.TypeAAAA)
	if answer := z.Answer(query); !answer.Truncated || answer.Len() > dns.MinMsgSize {
		t.Errorf("%d bytes, truncated %v", answer.Len(), answer.Truncated)
	}
	query.SetEdns0(4096, false)
	if answer := z.Answer(query); answer.Truncated || answer.Len() > maxAnswer || len(answer.Answer) != names.MaxAddresses {
		t.Errorf("%d bytes, truncated %v", answer.Len(), answer.Truncated)
	}
}

func TestHears(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1": true, "::1": true, "fd12:3456:789a:bcde::77": true, "10.99.0.77": true, "192.0.2.9": true,
		"192.0.2.8": false, "fd12:3456:789a:bcdf::1": false, "fe80::1": false} {
		if testZone().hears(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: want %v", address, want)
		}
	}
}

// FuzzAnswer has queries of anybody.
func FuzzAnswer(f *testing.F) {
	for _, query := range []*dns.Msg{new(dns.Msg).SetQuestion("web2.span.internal.", dns.TypeANY), new(dns.Msg).SetAxfr("span.internal.").SetEdns0(0, true)} {
		packed, err := query.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	z := testZone()
	f.Fuzz(func(t *testing.T, data []byte) {
		var query dns.Msg
		if query.Unpack(data) != nil {
			return
		}
		answer := z.Answer(&query)
		packed, err := answer.Pack()
		if err == nil && len(packed) > maxAnswer+len(data) {
			t.Errorf("%d bytes of %d", len(packed), len(data))
		}
	})
}
