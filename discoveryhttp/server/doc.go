// Package server is the discovery service. It keeps the affiliates of clusters for
// as long as they are refreshed, and sends every change to all watchers of the
// cluster. It serves gRPC by grpc-go, and Connect and plain HTTP with JSON by
// net/http, on one port. Affiliates are sealed; the server cannot read them.
//
// A Server answers calls, and a Store keeps affiliates. Requests are checked
// against Limits (limits.go) and rates (rate.go). caller.go finds the address of
// the caller, and auth.go checks its token. Metrics, probes and a status page are
// served beside the protocol (metrics.go, pages.go).
//
// Run serves on listeners and removes expired affiliates until its context ends.
// Package door accepts the connections and hands each to one of the two servers.
//
// A Server and a Certificate are safe for concurrent use.
package server
