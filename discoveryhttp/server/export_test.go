package server

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/spanmesh/span/discoveryhttp/reflectpb/reflectpbconnect"
)

// Sent returns what the account of a server counts, in bytes.
func (s *Server) Sent() int64 { return s.account.inUse() }

// What a call may have in its header, and what is counted for a watch, in bytes.
const (
	HeaderList  = headerList
	WatchMemory = watchMemory + callMemory
	// ClusterMemory is counted for a cluster.
	ClusterMemory = clusterMemory
)

// OpenCalls returns the number of open calls.
func (s *Server) OpenCalls() int { return s.calls.count() }

// ReflectHandler returns the handler of ReflectService, with what sends its datagrams.
func (s *Server) ReflectHandler(send func(context.Context, netip.AddrPort, [][]byte) (int, error)) http.Handler {
	r := newReflector(s)
	r.send = send
	_, handler := reflectpbconnect.NewReflectServiceHandler(r)
	return handler
}

// AdmitReflect returns what admits a call of ReflectService at a time.
func (s *Server) AdmitReflect() func(context.Context, netip.Addr, time.Time) error {
	return newReflector(s).admit
}

// RecordOnce puts a reading on the page.
func (s *Server) RecordOnce(ctx context.Context) { s.recordOnce(ctx, time.Now()) }

// RecordAfter puts a reading on the page as if the server had run for a time.
func (s *Server) RecordAfter(ctx context.Context, uptime time.Duration) {
	s.recordOnce(ctx, time.Now().Add(-uptime))
}
