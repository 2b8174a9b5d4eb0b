// Package netlinkapply is the kernel's side of spanctl: it reads what is there
// under our ownership marks, and carries out plans.
//
// Kernel has three verbs. Host tells the machine's name and addresses. Observe
// reads the link, its addresses, the routes, the rules, the nftables table and
// the WireGuard peers into a state.State. Apply carries out a state.Plan, each
// change with the fewest messages that do it: nothing is replaced as a whole
// because of one difference. Applying the plan between a document and what
// Observe reads, twice, writes nothing the second time.
//
// Beside them are what a mesh needs between passes: Peers reads WireGuard alone,
// Probe sends something through the tunnel, ClearSources follows a change of the
// machine's addresses.
//
// A file holds one kind of object, with how it is read and how it is changed:
// link.go, address.go, route.go, rule.go, firewall.go (with expr.go for the
// nftables expressions), peer.go (with genl.go for the kernel's messages), path.go
// (how packets go) and host.go. Watch, with clock.go, wakes whoever wants to know
// that something in the kernel changed.
//
// WireGuard is the kernel's where it has it. Else package userspace runs it in
// a process of its own, which outlives the agent and is found by its socket.
//
// A Kernel is for one goroutine; Watch may run beside it.
package netlinkapply
