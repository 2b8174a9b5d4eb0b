// Package wginvite decides what a peer without an agent gets, such as a phone: keys, addresses, the
// networks that it reaches, and the endpoint that it connects to.
//
// Its functions are pure but for the randomness of keys, which is an argument.
package wginvite
