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
// a trusted proxy's X-Real-IP or X-Forwarded-For. If the headers name no address, or each
// another, the address of the connection counts: most proxies set one of the headers, and
// leave the other as the caller wrote it.
func (c callers) of(peer string, header http.Header) netip.Addr {
	connection := addressIn(peer)
	if !c.trusts(connection) {
		return connection
	}
	origin, forwarded := addressIn(header.Get("X-Real-Ip")), c.forwarded(header)
	switch {
	case !forwarded.IsValid() && !origin.IsValid():
		return connection
	case !forwarded.IsValid():
		return origin
	case !origin.IsValid(), origin == forwarded, c.trusts(origin):
		return forwarded
	}
	return connection
}

// isForwarded reports whether a proxy has passed a request on, by the headers that proxies add.
func isForwarded(header http.Header) bool {
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if _, has := header[name]; has {
			return true
		}
	}
	return false
}

// forwarded returns the address in X-Forwarded-For. Each proxy appends its caller, so the last
// address that is not a trusted proxy counts. The result is not valid if there is none, or if
// the header is malformed up to it.
func (c callers) forwarded(header http.Header) netip.Addr {
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop := addressIn(text)
		if !hop.IsValid() || !c.trusts(hop) {
			return hop
		}
	}
	return netip.Addr{}
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
