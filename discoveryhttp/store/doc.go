// Package store keeps the affiliates of clusters for a discovery server.
//
// An affiliate is opaque: an ID, sealed data and sealed endpoints. It lives as
// long as its data is refreshed; each endpoint has an expiry of its own, because
// others than the affiliate itself may add some. An affiliate is kept as it is
// sent, in its encoding, and a change is encoded once for all who watch.
//
// A Watcher sees a cluster as it was when the watch began and then every change,
// none lost and none out of order; one that falls behind by more than maxLag
// changes gets ErrLagging and must begin again, so that its memory is bounded.
//
// Memory keeps everything in memory. Bolt keeps it in a file as well, and
// acknowledges nothing that is not on disk. Etcd keeps it in etcd, for several
// servers at once.
//
// All types are safe for concurrent use but for Watcher, which is for one
// goroutine.
package store
