package mesh

import (
	"net/netip"
	"time"
)

// Path is an endpoint of a peer that has answered a probe.
type Path struct {
	Endpoint netip.AddrPort
	// RTT is the time that answers take.
	RTT time.Duration
	// Since is when the endpoint answered first, without a pause of answers since.
	Since time.Time
}
