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
// Loop runs the passes of an agent. A new config, a change in a registry or in the
// kernel, or the passing of time wakes one goroutine. It owns all state and does one
// pass at a time; changes during a pass lead to one more pass. The methods of Loop may
// be called from any goroutine and wait for that one.
//
// Discovery opens the registries that a config asks for and merges what they know into
// Knowledge. A registry is a package with a Driver: discoveryhttp, discoverykube and
// static. Loop follows the registries; a single pass reads them once.
//
// The package knows no netlink, no HTTP and no files. It declares the interfaces that
// it needs: Kernel, Identify, Registry and CacheStore.
package reconciler
