// Package link follows the connection to each peer: whether it is up, and
// which of the peer's endpoints to try.
//
// Step is the whole of it: from the time, what is configured, what was known
// and what WireGuard shows it makes the new status and, when another endpoint
// is due, that endpoint. It has no clock and no state, and is safe for
// concurrent use.
package link
