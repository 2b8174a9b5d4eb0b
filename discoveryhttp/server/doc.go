// Package server is the discovery service. It keeps the affiliates of clusters for
// as long as they are refreshed, and sends every change to all watchers of the
// cluster. It serves gRPC by grpc-go, and Connect and plain HTTP with JSON by
// net/http, on one port. Affiliates are sealed; the server cannot read them.
//
// A Server answers calls, and a Store keeps affiliates. grpc-go serves gRPC
// (grpc.go), connect serves Connect, gRPC-Web and JSON on net/http (connect.go), and
// both call the same methods with a call (call.go). Requests are checked against
// Limits (limits.go), and a call beyond a rate waits for its turn (admission.go).
// caller.go finds the address of the caller, and auth.go checks its token. Metrics,
// probes and a page are served beside the protocol (metrics.go, pages.go), to those whom
// access.go lets see them and within the bounds of visits.go. record.go keeps what the page
// shows (package page). http.go serves all of it on net/http, and idle.go closes connections
// without a call.
//
// A reader (watch.go) has the snapshot of a cluster and its changes. One goroutine
// sends a cluster's changes to all its readers (cluster.go). Those that wait together
// are one message (message.go), which is encoded once and shared (caches.go). Under
// load they wait up to 250 ms for more.
//
// What readers pin in memory is bounded:
//
//   - All that is encoded for them is counted, from before it is encoded until the last
//     holder lets go (account.go). A reader holds a message by a delivery (delivery.go)
//     until gRPC gives it back, or the connection is closed.
//   - What is not encoded yet is in the log of the store, which counts it as well.
//     Whoever has an encoding holds nothing of what it was made of.
//   - A reader that takes nothing for Limits.Send is ended, and its connection is
//     closed. A proxy's connection is closed when 8 MiB are left in it.
//   - A connection whose client does not take the answers of calls that are over is closed
//     (answers.go).
//   - A call by gRPC has a header of up to 4 KiB, a request that must arrive in
//     time, and 32 KiB of messages that are not taken, besides one message that is
//     shared. A connection has up to 250 calls, that of a proxy 1,000.
//   - Snapshots of more than 8 KiB are shared: a new one is made when a quarter of
//     the last has changed (base.go).
//   - Connect copies a response for each call. Large copies have up to 64 MiB of one
//     caller and 128 MiB in all (copies.go), in parts of 256 KiB.
//
// Run serves on listeners and removes expired affiliates until its context ends.
// Package door accepts the connections and hands each to one of the two servers.
//
// A Server and a Certificate are safe for concurrent use.
package server
