// Package mesh is KubeSpan as pure functions over plain values.
//
// A machine has an Identity: a WireGuard key pair, and an address inside the cluster's /64
// that is derived from the cluster ID and the machine's MAC. LocalAffiliate makes the
// Affiliate that the machine publishes, so that others can reach it.
//
//	registries ──▶ Merge ──▶ Filter ──▶ Peers ──▶ PeerSpecs ──▶ EndpointFilter, Rank
//	                            │         │
//	                            │         └─────▶ Territory.Claims ──▶ package ownership
//	                            └─────▶ Members
//
// Merge joins the affiliates of several registries. Filter drops those that must not be
// used. PeerSpecs makes WireGuard's peers of the rest. EndpointFilter and Rank select and
// order a peer's endpoints. A Territory is what stays at this machine: Claims returns what a
// peer asks for without it, and what is refused. Members are the affiliates with a nodename.
//
// No function reads a clock, a file or the network, or keeps or changes its arguments. All
// may be called concurrently.
package mesh
