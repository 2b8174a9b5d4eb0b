// Package store keeps the affiliates of clusters for a discovery server.
//
// An affiliate is opaque: an ID, sealed data and sealed endpoints. It lives as
// long as it is refreshed; each endpoint has an expiry of its own, because
// others than the affiliate itself may add some. A Watcher sees every cluster
// as it was when the watch began and then every change, in order; one that lags
// sees the latest of several changes of one affiliate, so that its memory is
// bounded by the cluster's size.
//
// Memory keeps everything in memory. Bolt keeps it in a file as well, and
// acknowledges nothing that is not on disk.
//
// All types are safe for concurrent use but for Watcher, which is for one
// goroutine.
package store
