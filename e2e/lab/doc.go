// Package lab makes networks of machines from namespaces, for tests and for the demo: real
// interfaces, real WireGuard, the real binary.
//
// A Lab is a bridge in the process's own network namespace. A Node is a machine on it: a
// network, a mount and a UTS namespace, held by a process of its own. No traffic leaves the
// namespaces.
//
// The holder of a node kills what still runs in the node when the lab is closed, and when the
// lab's process dies. WireGuard in userspace outlives its agent, but not the lab.
//
// A program that uses the package calls Main first. Holders, and other subcommands inside of a
// node, are the same program.
//
// A Lab and its Nodes are safe for concurrent use, except Close.
package lab
