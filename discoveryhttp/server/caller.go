package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// callers finds the address of a caller.
type callers struct {
	// trusted are the networks of proxies whose headers are trusted.
	trusted []netip.Prefix
}

// trusts reports whether address is that of a trusted proxy.
func (c callers) trusts(address netip.Addr) bool {
	for _, p := range c.trusted {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// of returns the address of the caller. It is the address of the connection, or of
// a trusted proxy's X-Real-IP or X-Forwarded-For. Each proxy appends its caller to
// X-Forwarded-For, so the last address that is not a trusted proxy counts.
func (c callers) of(peer string, header http.Header) netip.Addr {
	connection, err := netip.ParseAddrPort(peer)
	if err != nil {
		return netip.Addr{}
	}
	address := connection.Addr().Unmap().WithZone("")
	if !c.trusts(address) {
		return address
	}
	if origin, err := netip.ParseAddr(strings.TrimSpace(header.Get("X-Real-Ip"))); err == nil {
		return origin.Unmap().WithZone("")
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
