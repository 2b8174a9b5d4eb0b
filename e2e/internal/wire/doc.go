// Package wire speaks the discovery protocol with as little work as possible: messages that
// are encoded by hand, and a gRPC client that passes them on.
//
// A Client is safe for concurrent use.
package wire
