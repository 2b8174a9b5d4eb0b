// Package etcd asks etcd, over its v3 gRPC API, for what a discovery server keeps
// there.
//
// It is connect's client with the few messages that are needed, in place of etcd's
// own client: that one, with the second protocol stack below it, is 4 MB of the
// program and a tenth of the time that every command takes to start.
//
// A call that a member does not answer goes to the next one. All calls may be
// repeated: what they write is the same the second time.
package etcd
