// Package static is the registry of the peers that a machine config describes itself
// (cluster.discovery.registries.static). It is read-only, needs no network and keeps no
// cache. Machines that are not in the registries of a cluster, such as a phone, join a mesh
// by it.
//
// Its types are safe for concurrent use.
package static
