// Package simulated has machines without a machine: thousands of them in one process take part
// in a cluster, against a real discovery server on loopback.
//
//   - A whole machine (whole.go) is the agent's own code with a simulated kernel (kernel.go).
//   - A light machine (light.go, stream.go) is a machine as the server sees it.
//
// docs/scale.md says what either does and leaves out.
//
// Group runs machines of one kind and is called by net/rpc, as each kind has a process of its own.
// Machines are numbers, from which all else of them is derived (cluster.go).
package simulated
