// Package etcd keeps the affiliates of a discovery server in etcd, where several
// servers share them: a change that one server writes reaches the watchers of all.
//
// The data of an affiliate is one key, and each of its endpoints another. Each has
// a lease that ends when it expires:
//
//	PREFIX c/CLUSTER/AFFILIATE/d           the data
//	PREFIX c/CLUSTER/AFFILIATE/c           the caller that it counts for
//	PREFIX c/CLUSTER/AFFILIATE/e/ENDPOINT  "o" if the endpoint came with data
//	PREFIX p/CLUSTER                       the pin: the hash of the token, and its creation
//	PREFIX i/NAME                          an invitation: a storepb.Invitation
//	PREFIX s/NAME                          what it seals
//	PREFIX ready                           empty; Ready writes it
//
// CLUSTER is the SHA-256 of the cluster's ID. AFFILIATE and ENDPOINT are in
// hexadecimal. A caller is the beginning of the SHA-256 of its address. Keys of an
// earlier version, without callers and with empty endpoints, are read as well.
//
// An update is planned from what etcd has (newPlan), and written in one transaction
// with the pin. The transaction fails if somebody else has changed the affiliate, and
// the update is planned again.
//
// An invitation is counted by a transaction that fails if somebody else has taken it since it was
// read. Its limits are checked before it is made, and may be exceeded by a few.
//
// A server follows each cluster with one etcd watch (a mirror), however many
// watchers the cluster has there. With another watch it follows all clusters, and
// keeps what they cost (usage). Limits therefore hold for what all servers have
// written. They are checked before a write, so calls at the same moment may exceed
// them by a few. A plan's endpoints are exact.
//
// A Store is safe for concurrent use.
package etcd
