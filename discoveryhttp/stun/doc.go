// Package stun has both ends of Binding requests of STUN (RFC 8489), without authentication: a machine
// asks from a UDP port, and a server answers with the address and port that a NAT gives to it.
//
// An answer is never larger than its request, so that a server cannot be used to multiply traffic.
package stun
