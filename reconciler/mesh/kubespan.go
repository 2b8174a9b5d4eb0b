package mesh

import "time"

// The constants of KubeSpan. Both ends of a tunnel rely on the keepalive, the
// rest is what Talos uses, so that a machine looks the same under either.
const (
	// FirewallMark is set by WireGuard on its own packets, which thus stay out
	// of the tunnel.
	FirewallMark = 0x20
	// RoutedMark is set on packets that go into the tunnel.
	RoutedMark = 0x40
	// MarkMask covers the bits of both marks; the other bits are left to others.
	MarkMask = 0x60

	// RoutingTable holds the default routes into the tunnel.
	RoutingTable = 180
	// RouteMetric is the metric of those routes.
	RouteMetric = 1
	// RulePriority is where the rules for marked packets stand.
	RulePriority = 32500

	// Keepalive holds NAT mappings open. WireGuard's own documentation
	// recommends 25 seconds.
	Keepalive = 25 * time.Second
)
