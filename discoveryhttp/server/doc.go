// Package server is the discovery service: it keeps the affiliates of clusters
// for as long as they are refreshed and tells everyone in a cluster of every
// change. It serves Connect, gRPC and plain HTTP with JSON on one handler, and
// cannot read what it keeps.
//
// Server answers the calls and checks what comes in against Limits; a Store
// keeps the affiliates. Run serves on a listener and removes what has expired,
// until its context ends.
package server
