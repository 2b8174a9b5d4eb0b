// Package peer follows the connection to each peer: whether it is up, and
// which of the peer's endpoints to try.
//
// Step is the whole of it: from the time, what is configured, what was known
// and what WireGuard shows it makes the new status and an Action: another endpoint
// that is due, or that the peer is to be asked for a sign of life. NextCheck says
// when to step again. Neither has a clock or a state; both are safe for
// concurrent use.
//
// link.go has the types and the times, with their source in WireGuard's paper,
// step.go the decisions, look.go the waits.
package peer
