// Package stun tells a machine the address and port that a NAT gives to its UDP port, by Binding
// requests of STUN (RFC 8489) without authentication.
//
// An answer is never larger than its request, so that a server cannot be used to multiply traffic.
package stun
