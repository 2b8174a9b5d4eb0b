// Package store keeps the affiliates of clusters for a discovery server.
//
// An affiliate is opaque: an ID, sealed data and sealed endpoints. It expires
// unless its data is refreshed. Each endpoint has an expiry of its own, because
// other machines may add endpoints to an affiliate. An affiliate is kept in its
// wire encoding, and a change is encoded once for all watchers.
//
// A watch starts with a Snapshot of the cluster. Its Watcher then yields every
// change, in order and without gaps, or ErrResync when it has lost some. A cluster has
// one Log of changes, and a watcher is a place in it. A log has no more than maxLag
// changes, and all logs together no more than their Backlog.
//
// Memory keeps everything in memory. Bolt also keeps it in a file, and
// acknowledges a change only once it is on disk. Package etcd, below this one,
// keeps it in etcd for several servers. Another store is any type that implements
// server.Store with the types of this package; package storetest tests it.
//
// Memory, Bolt and all immutable types are safe for concurrent use.
package store
