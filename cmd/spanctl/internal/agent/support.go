package agent

import (
	"context"
	"runtime"
	"runtime/pprof"
	"strings"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// GetSupport implements the API.
func (s *service) GetSupport(context.Context, *connect.Request[agentpb.GetSupportRequest]) (*connect.Response[agentpb.GetSupportResponse], error) {
	if err := s.runner.Running(); err != nil {
		return nil, failed(err)
	}
	response := &agentpb.GetSupportResponse{Usage: usage()}
	if s.records != nil {
		response.Log = s.records.Lines()
	}
	var stacks strings.Builder
	// With 1, functions are without their arguments, which may be a key, a word each.
	err := pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	response.Stacks = stacks.String()
	return respond(response, err)
}

// usage returns what the process uses.
func usage() map[string]uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]uint64{
		"goroutines":   uint64(runtime.NumGoroutine()), //nolint:gosec // not negative
		"heap_bytes":   m.HeapAlloc,
		"memory_bytes": m.Sys,
		"gc_cycles":    uint64(m.NumGC),
	}
}
