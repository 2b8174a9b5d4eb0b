// Package outside decides when to ask servers how a NAT maps WireGuard's port, and what their answers
// show.
//
// It is a pure function of what it is told, with the time passed in. An Asker is for one IP version and
// one goroutine.
package outside
