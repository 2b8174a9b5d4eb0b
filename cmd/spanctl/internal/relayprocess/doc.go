// Package relayprocess runs the blind relay that a member of a cluster is.
//
//	agent ──Start──▶ relay, a process of its own (package detached)
//	agent ──Ask────▶ whom it carries packets for; what it is and has done
//
// The relay outlives the agent and is found again by its control socket. It goes on with whom it was
// told of last. Its directory has its key, which stays the same, and its table: a relay that is killed
// knows after its start who may register.
//
// All functions may be called concurrently.
package relayprocess
