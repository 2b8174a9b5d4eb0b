// Package outside decides when to ask servers how a NAT maps WireGuard's port, and what their answers
// show.
//
// An Asker depends only on what is passed to it, the time included. It is for one IP version and one
// goroutine.
package outside
