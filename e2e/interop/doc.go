// Package interop is a second implementation of both sides of the discovery protocol, for
// tests against spanctl's. It follows the description of the wire format, with plain grpc-go,
// and shares no code with discoveryhttp, neither messages nor ciphers.
//
// Peer joins a cluster as a Talos node does. Node has WireGuard as well. Talos and Crowd call when Talos' client does, also
// after a refusal. Serve is a service as Talos nodes use it.
package interop
