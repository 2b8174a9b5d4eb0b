package mesh

import "math"

// Marks are firewall marks. Bits outside Mask belong to other programs.
type Marks struct {
	// Own is the mark of WireGuard's own packets, which stay outside the tunnel, and of
	// connections that came from outside it.
	Own uint32
	// Routed is the mark of packets that are routed into the tunnel, and of connections
	// that came out of it.
	Routed uint32
	// Mask has the bits of both.
	Mask uint32
}

// MarksOf returns the marks for machine.network.kubespan.fwmark. The default 0x20 gives
// 0x20 and 0x40, which KubeSpan on Talos uses too.
func MarksOf(own uint32) Marks {
	routed := own << 1
	return Marks{Own: own, Routed: routed, Mask: own | routed}
}

const (
	// RouteMetric is the metric of the default routes into the tunnel.
	RouteMetric = 1
	// LastMetric is the metric of the routes that refuse packets while the others are missing.
	// It fits the kernel's type and Go's int on every platform.
	LastMetric = math.MaxInt32
)
