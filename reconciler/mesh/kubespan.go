package mesh

// Marks are firewall marks. The bits outside of the mask are left to others.
type Marks struct {
	// Own is set by WireGuard on its own packets, which thus stay out of the
	// tunnel, and on connections that came from outside of it.
	Own uint32
	// Routed is set on packets that go into the tunnel, and on connections that
	// came out of it.
	Routed uint32
	Mask   uint32
}

// MarksOf are the marks that a config asks for: by default 0x20 and 0x40, which
// KubeSpan on Talos uses too.
func MarksOf(own uint32) Marks {
	routed := own << 1
	return Marks{Own: own, Routed: routed, Mask: own | routed}
}

// RouteMetric is the metric of the default routes into the tunnel.
const RouteMetric = 1
