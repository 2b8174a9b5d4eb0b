// Package etcd asks etcd, over its v3 gRPC API, for what a discovery server keeps
// there.
//
// It is connect's client with the few messages that are needed, in place of etcd's
// own client and the second protocol stack below that
// (docs/decisions/own-requests.md).
//
// A call that a member does not answer goes to the next one. All calls may be
// repeated: what they write is the same the second time.
package etcd
