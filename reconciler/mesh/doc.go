// Package mesh is KubeSpan as pure functions over plain values.
//
// A machine has an Identity: a WireGuard key pair and an address inside the
// cluster's /64, derived from the cluster ID and the MAC of the machine. It
// publishes an Affiliate, what others need to know to reach it, and reads the
// affiliates of the others from one or several registries: Merge joins them.
// PeerSpecs turns the merged affiliates into what WireGuard needs, and settles
// who owns an address that two machines claim. Members are the affiliates that
// have a name.
//
// Nothing here reads a clock, a file or the network, and no function keeps or
// changes its arguments, so all may be called concurrently.
package mesh
