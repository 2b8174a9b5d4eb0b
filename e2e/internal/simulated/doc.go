// Package simulated has machines without a machine: thousands of them in one process take part
// in a cluster, against a real discovery server on loopback.
//
//   - A whole machine (whole.go) is the agent's own code: its loop and its client of discovery.
//     Only the kernel is simulated (kernel.go).
//   - A ghost (ghost.go, stream.go) is a machine as the server sees it. It speaks the same
//     protocol over the same HTTP transport with the same settings, publishes an affiliate
//     that is encrypted as any other, and waits as long after a failure. It reads of what
//     the server sends the IDs only, and keeps a bit for each. It has no loop, decrypts
//     nothing, verifies no deletion with List, and joins no relay.
//
// The kernel of a whole machine takes every change at once. Its tunnels work: each peer's last
// handshake and counters are those of a tunnel that carries keepalives only.
//
// Crowd runs machines of one kind and is called by net/rpc, as each kind has a process of its own.
// Machines are numbers, from which all else of them is derived (cluster.go).
package simulated
