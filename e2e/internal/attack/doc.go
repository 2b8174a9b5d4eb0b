// Package attack attacks a discovery server, and measures its memory meanwhile.
//
// Each Attack is something that a stranger can do to a server on the open internet. Run
// starts the real binary in a network namespace, attacks it from a second one, and lets a
// well-behaved client use it from a third. The Result has the resident memory before,
// during and after, and what the well-behaved client met.
//
// The attackers speak HTTP/2 by hand (h2.go), because no client library does what they do.
// An attacker that is refused or disconnected tries again.
package attack
