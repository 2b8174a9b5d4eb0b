// Package discoveryhttp is the client of discovery services over HTTP. It implements
// reconciler.Registry.
//
// A Client publishes this machine's affiliate in one or more discovery services and
// follows the affiliates of the other machines of its cluster. It uses the public Sidero
// discovery API over gRPC or Connect; package server and Sidero's service both answer it.
// Payloads are encrypted (package payload), so that a service can neither read nor forge
// them.
//
//   - client.go has the Client, which merges what its services know;
//   - service.go, publish.go and watch.go are the connection to one service;
//   - membership.go decides which machines are in the cluster;
//   - verify.go confirms deletions, and health.go says what is wrong with a service;
//   - transport.go makes the HTTP connections; bounded.go and message.go check what comes;
//   - registry.go opens a Client for a machine config.
//
// A Client repeats failed calls and broken watches with growing pauses. A machine that
// leaves is forgotten at once. One that was deleted is forgotten after a few seconds, when List
// no longer has it: if it is alive, it publishes itself again (own.go). Older copies of it are
// refused (ledger.go).
//
// A service is not trusted. It can withhold machines, but neither read nor forge them, nor
// exhaust this machine's memory: whatever it sends is bounded before it is decoded.
//
// A service may lose its memory in an outage. A machine that it then no longer has is kept
// until it had time to publish itself again.
//
// A Client is safe for concurrent use.
package discoveryhttp
