package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/spanmesh/span/discoveryhttp/server/page"
)

// Access is who may see something of a server.
type Access string

const (
	// Public is for everybody. The page rounds numbers for strangers, and withholds those of
	// servers with few clusters.
	Public Access = "public"
	// Private is for this machine: a caller on loopback of a server without proxies.
	Private Access = "private"
	// Off is for nobody.
	Off Access = "off"
)

// isLocal reports whether a request comes from this machine. None does where proxies are configured:
// what they pass on comes from loopback, too, and its Host is the caller's. A request that has a
// proxy's header is not local either, nor is one for another host, as a page of another site sends
// whose name leads to this machine.
func (s *Server) isLocal(r *http.Request) bool {
	if len(s.options.TrustedProxies) > 0 || isForwarded(r.Header) {
		return false
	}
	return addressIn(r.RemoteAddr).IsLoopback() && isLocalHost(r.Host)
}

// isLocalHost reports whether a Host, with or without a port, names this machine.
func isLocalHost(host string) bool {
	name := hostOf(host)
	if name == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.Unmap().IsLoopback()
}

// audienceOf returns how much of the page the sender of a request may see.
func (s *Server) audienceOf(r *http.Request) page.Audience {
	switch {
	case s.isLocal(r):
		return page.Everything
	case s.options.Page == Public:
		return page.Rounded
	}
	return page.Nothing
}

// mayReadMetrics reports whether the sender of a request may read the metrics.
func (s *Server) mayReadMetrics(r *http.Request) bool {
	switch s.options.Metrics {
	case Off:
		return false
	case Private:
		return s.isLocal(r)
	case Public:
	}
	return true
}

// hostOf returns a Host without its port and brackets.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
