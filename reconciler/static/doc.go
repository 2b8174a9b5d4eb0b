// Package static is the registry of the peers that a machine config describes itself
// (cluster.discovery.registries.static). It is read-only, needs no network and keeps no
// cache. It is for machines that are in no other registry, such as a phone.
//
// Its types are safe for concurrent use.
package static
