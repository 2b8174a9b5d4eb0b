// Package reconciler brings a machine's kernel to what its config and
// discovery ask for, and keeps it there.
//
// Engine is one pass: gather what the host and the kernel show, build the
// desired document, compare, apply, and publish what `spanctl get` shows. Its
// decisions are pure functions of the packages mesh, peer and state.
//
// A pass has a Trigger: where only time has passed, a glance at WireGuard's
// peers is enough, since of everything else the kernel tells. gather.go makes the
// peers, peers.go moves their states on, remember.go and publish.go tell what came
// of it, repair.go what others had changed.
//
// Loop runs the passes of an agent. Whatever happens (a new config, news from
// discovery, a change in the kernel, the passing of time) wakes one goroutine,
// which owns all state and does one pass at a time; news that arrives during a
// pass is one more pass, however much it is. Its methods may be called from any
// goroutine and wait for that one.
//
// The package knows no netlink, no HTTP and no files. It declares what it needs
// of them: Kernel, Identify and Discover.
package reconciler
