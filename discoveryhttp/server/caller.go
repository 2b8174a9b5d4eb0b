package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// callers tells who calls.
type callers struct {
	// trusted are the proxies whose word counts.
	trusted []netip.Prefix
}

func (c callers) trusts(address netip.Addr) bool {
	for _, p := range c.trusted {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// of is the address of the caller: that of the connection, or what a trusted
// proxy says of it. In X-Forwarded-For every proxy appends who called it, so the
// last address that is no trusted proxy is the one that a trusted proxy saw.
func (c callers) of(peer string, header http.Header) netip.Addr {
	connection, err := netip.ParseAddrPort(peer)
	if err != nil {
		return netip.Addr{}
	}
	address := connection.Addr().Unmap().WithZone("")
	if !c.trusts(address) {
		return address
	}
	if told, err := netip.ParseAddr(strings.TrimSpace(header.Get("X-Real-Ip"))); err == nil {
		return told.Unmap().WithZone("")
	}
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap().WithZone("")
		if !c.trusts(address) {
			break
		}
	}
	return address
}
