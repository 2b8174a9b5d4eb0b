package server

import (
	"net/http"
	"net/netip"
	"slices"
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
// X-Forwarded-For, so the last address that is not a trusted proxy counts. If the headers
// name no such address, or are malformed up to it, the address of the connection counts.
func (c callers) of(peer string, header http.Header) netip.Addr {
	connection := addressIn(peer)
	if !c.trusts(connection) {
		return connection
	}
	if origin := addressIn(header.Get("X-Real-Ip")); origin.IsValid() {
		return origin
	}
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop := addressIn(text)
		if !hop.IsValid() {
			break
		}
		if !c.trusts(hop) {
			return hop
		}
	}
	return connection
}

// addressIn returns the address in a text, which may have a port, too: some proxies
// forward it. The result is not valid if there is none.
func addressIn(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone("")
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
