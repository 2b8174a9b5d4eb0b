// Package discoveryhttp is a machine's side of discovery over HTTP.
//
// A Client publishes the machine's affiliate to one or several discovery services
// and follows those of the other machines of its cluster (client.go; service.go
// is the seat in one of them). It speaks the public Sidero discovery API, over gRPC
// or Connect, which our own server (package server) and Sidero's answer. Payloads
// are sealed (package payload): a service can neither read nor forge them.
//
// A Client never gives up and never forgets in haste: calls are repeated with
// growing pauses, a broken watch is resumed, and machines that a service does
// not know after an outage, because it has started anew, are kept until they
// had time to come back. Only a deletion takes effect at once.
//
// Client is safe for concurrent use.
package discoveryhttp
