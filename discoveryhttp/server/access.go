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
	// Private is for this machine: a caller on loopback that came by no proxy.
	Private Access = "private"
	// Off is for nobody.
	Off Access = "off"
)

// isLocal reports whether a request comes from this machine. One that a proxy has passed on does
// not: proxies say so in a header, or leave the Host of their own clients. A page of another site
// whose name leads to this machine has that name as Host.
func isLocal(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if _, passed := r.Header[header]; passed {
			return false
		}
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
	case isLocal(r):
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
		return isLocal(r)
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
