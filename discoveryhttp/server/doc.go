// Package server is the discovery service: it keeps the affiliates of clusters
// for as long as they are refreshed and tells everyone in a cluster of every
// change. It serves Connect, gRPC and plain HTTP with JSON on one handler, and
// cannot read what it keeps.
//
// Server answers the calls; a Store keeps the affiliates. What comes in is
// checked against Limits (limits.go), which also bound how often an address and a
// cluster may call (rate.go). Who calls is told in caller.go, whether it may in
// auth.go. A change is encoded once and written to all who watch (watch.go).
// Beside the protocol there are metrics, probes and a page (pages.go).
//
// Run serves on a listener and removes what has expired, until its context ends.
package server
