// Package netlinkapply reads and changes the kernel's network configuration.
//
// A Kernel has three main methods:
//   - Host returns the machine's name, links and addresses.
//   - Observe reads the objects that spanctl owns into a state.State: the link, its
//     addresses, routes, rules, the nftables table and the WireGuard peers.
//   - Apply carries out a state.Plan with the fewest messages. After Apply, Observe
//     returns the desired state, and the next plan is empty.
//
// Others are used beside them:
//
//   - Device reads the WireGuard device and its peers alone.
//   - Probe sends echoes through the tunnel. Replies returns the peers that have answered.
//   - Trace asks where packets go.
//   - ClearSources makes WireGuard choose its source addresses again.
//   - Restart ends a WireGuard process that hangs.
//   - Watch reports changes in the kernel and of the clock.
//
// Each kind of object has a file, with its reading and its changes: link.go, address.go,
// route.go, rule.go, peer.go (the kernel's WireGuard messages are written in genl.go and read in
// genlread.go) and path.go (packets' paths). Package wgdevice keeps the device that was read last, so
// that reading it again makes no garbage. own.go finds spanctl's link, also under another name. host.go,
// announce.go and territory.go read the machine's addresses and networks, ipv6.go whether IPv6
// is disabled. The nftables tables have package firewall, the echoes have package echo.
// Changes are watched in watch.go and clock.go.
//
// WireGuard is the kernel's, if it has WireGuard. Otherwise package userspace runs it in a
// process that outlives the agent.
//
// A Kernel is for one goroutine; Watch may run beside it.
package netlinkapply
