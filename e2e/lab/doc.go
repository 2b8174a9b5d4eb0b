// Package lab makes networks of machines out of namespaces, for tests and for
// the demo: real interfaces, real WireGuard, the real binary.
//
// A Lab is a bridge in the process's own network namespace. A Node is a machine
// on it: a network, a mount and a UTS namespace, held by a process of its own.
// The namespaces are made by this program, and no traffic leaves them.
//
// The holder of a node ends what still runs in the node when it is told to or
// when the lab's process dies, however that may come: WireGuard in userspace is
// meant to outlive its agent, not the lab.
//
// A program that uses the package calls Main first: holders, and whatever else
// must run inside of a node, are the same program in another role.
//
// A Lab and its Nodes are safe for concurrent use, but for Close.
package lab
