// Package discoveryhttp is a machine's side of discovery over HTTP.
//
// A Client publishes the machine's affiliate to a discovery service and follows
// those of the other machines of its cluster. It speaks the public Sidero
// discovery API over gRPC, which our own server (package server) and Sidero's
// both answer. Payloads are sealed (package payload): the service can neither
// read nor forge them.
//
// A Client never gives up and never forgets in haste: calls are repeated with
// growing pauses, a broken watch is resumed, and machines that a service does
// not know after an outage, because it has started anew, are kept until they
// had time to come back. Only a deletion takes effect at once.
//
// Client is safe for concurrent use.
package discoveryhttp
