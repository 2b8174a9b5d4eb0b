package nameserver

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/spanmesh/span/reconciler/names"
)

const (
	// ttl is how long others may keep an answer, in seconds, and negativeTTL how long they may keep that a
	// name does not exist.
	ttl, negativeTTL = 30, 5
	// maxAnswer is the size of the largest answer by UDP, in bytes: it fits any link of IPv6 (the DNS flag
	// day of 2020).
	maxAnswer = 1232
)

// Zone is what a Server answers. It does not change.
type Zone struct {
	// Table has the names.
	Table *names.Table
	// Reverse are the zones of the mesh's addresses, in lower case, without a dot at the end.
	Reverse []string
	// Networks are those of the machines that may ask.
	Networks []netip.Prefix
}

// hears reports whether a machine may ask: this one, or one of the mesh.
func (z *Zone) hears(from netip.Addr) bool {
	if from.IsLoopback() {
		return true
	}
	if slices.ContainsFunc(z.Networks, func(n netip.Prefix) bool { return n.Contains(from) }) {
		return true
	}
	_, known := z.Table.Pointer(names.PointerName(from))
	return known
}

// Answer returns the answer to a query.
func (z *Zone) Answer(query *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(query)
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = min(max(int(opt.UDPSize()), size), maxAnswer)
		m.SetEdns0(maxAnswer, false)
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m
		}
	}
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery || query.Question[0].Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeRefused
		return m
	}
	z.answer(m, query.Question[0])
	m.Truncate(size)
	return m
}

// answer answers a question.
func (z *Zone) answer(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	apex := z.apex(name)
	pointer, isPointer := z.Table.Pointer(name)
	host, isHost := z.Table.Lookup(name)
	switch {
	case isPointer:
		apex = cmp.Or(apex, name)
		m.Answer = z.pointer(pointer, q)
	case isHost:
		m.Answer = addresses(host, q)
	case apex == "":
		m.Rcode = dns.RcodeRefused
		return
	case name == apex:
		m.Answer = start(q, soa(apex))
	case apex == z.Table.Domain, isWhole(name):
		m.Rcode = dns.RcodeNameError
	}
	m.Authoritative = true
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{soa(apex)}
	}
}

// apex returns the zone that a name is in; empty if it is in none.
func (z *Zone) apex(name string) string {
	if names.InZone(name, z.Table.Domain) {
		return z.Table.Domain
	}
	i := slices.IndexFunc(z.Reverse, func(zone string) bool { return names.InZone(name, zone) })
	if i < 0 {
		return ""
	}
	return z.Reverse[i]
}

// isWhole reports whether a name below ip6.arpa or in-addr.arpa is that of an address, or below one. Others
// are the zones of several addresses, and exist.
func isWhole(name string) bool {
	whole := 4
	if strings.HasSuffix(name, ".ip6.arpa") {
		whole = 32
	}
	return dns.CountLabel(name) >= whole+2
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// pointer returns the name of an address.
func (z *Zone) pointer(host names.Host, q dns.Question) []dns.RR {
	if q.Qtype != dns.TypePTR && q.Qtype != dns.TypeANY {
		return nil
	}
	return []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: dns.Fqdn(z.Table.Name(host.Labels[0]))}}
}

// addresses returns the addresses of a name that a question asks for.
func addresses(host names.Host, q dns.Question) (all []dns.RR) {
	for _, a := range host.Addresses {
		switch {
		case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
			all = append(all, &dns.A{Hdr: header(q.Name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
			all = append(all, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return all
}

// start returns the record with which a zone starts, if a question asks for it.
func start(q dns.Question, record dns.RR) []dns.RR {
	if q.Qtype != dns.TypeSOA && q.Qtype != dns.TypeANY {
		return nil
	}
	return []dns.RR{record}
}

// soa returns the record with which a zone starts. There are no other servers that copy it: its serial says
// nothing.
func soa(zone string) dns.RR {
	name := dns.Fqdn(zone)
	h := header(name, dns.TypeSOA)
	h.Ttl = negativeTTL
	return &dns.SOA{Hdr: h, Ns: name, Mbox: "hostmaster." + name, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negativeTTL}
}
