// Package reconciler brings a machine's kernel to what its config and
// discovery ask for, and keeps it there.
//
// Engine does passes. A pass goes through these steps, each in a file of that name:
//
//	read ──▶ gather ──▶ peers ──▶ owners ──▶ pass (compare) ──▶ apply ──▶ report, publish
//	  ▲                                                │
//	  └──── kernel: state, peers ◀─────────────────────┘
//
//	read     the kernel's state, or only WireGuard's peers if nothing but time has passed
//	gather   config, host and discovery become a specification of each peer
//	peers    every connection moves on: its state, its endpoint, its relay
//	owners   each peer gets the prefixes that it owns, by claims and states
//	compare  the desired document is built and compared with the kernel's state
//	apply    the plan is carried out, connections are committed, probes are sent
//	report   news are logged and recorded as events
//	publish  the resources of `spanctl get` are replaced
//
// The decisions are pure functions of the packages mesh, peer and state.
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
