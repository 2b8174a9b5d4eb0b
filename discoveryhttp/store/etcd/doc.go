// Package etcd keeps the affiliates of a discovery server in etcd, where several
// servers share them: a change that one server writes reaches the watchers of all.
//
// The data of an affiliate is one key, and each of its endpoints another. Each has
// a lease that ends when it expires:
//
//	PREFIX c/CLUSTER/AFFILIATE/d           the data
//	PREFIX c/CLUSTER/AFFILIATE/e/ENDPOINT  empty
//	PREFIX p/CLUSTER                       the pin
//
// CLUSTER is the SHA-256 of the cluster's ID. AFFILIATE and ENDPOINT are in
// hexadecimal.
//
// A server follows each cluster with one etcd watch (a mirror), however many
// watchers the cluster has there. Limits are checked before a write, so servers
// that write at the same moment may exceed them by a few.
//
// A Store is safe for concurrent use.
package etcd
