// Package relayprocess runs the blind relay that a member of a cluster is.
//
//	agent ──Start──▶ relay, a process of its own (package detached)
//	agent ──Ask────▶ sets who may use it, and returns its state
//
// The relay outlives the agent and is found again by its control socket. It keeps the last admission. Its
// directory has its key, which stays the same, and its table: after a kill and a start it knows from
// there who may register.
//
// All functions may be called concurrently.
package relayprocess
