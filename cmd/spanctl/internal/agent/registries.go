package agent

import (
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoverykube"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/static"
)

// drivers returns all registries, in the order in which their affiliates are joined:
// what a discovery service has of a machine is newer than what its Node has, and more.
func drivers() []reconciler.Driver {
	return []reconciler.Driver{discoverykube.Driver(), discoveryhttp.Driver(), static.Driver()}
}

// userAgent is what registries see of the program.
func userAgent() string { return "spanctl/" + version.Version }

// markedDialer implements reconciler.DiscoveryOptions.Dialer.
func markedDialer(firewallMark uint32) reconciler.DialFunc {
	return netlinkapply.MarkedDialer(firewallMark)
}

// newDiscovery returns the machine's membership in registries, without an open one.
func (d *deps) newDiscovery() *reconciler.Discovery {
	return reconciler.NewDiscovery(reconciler.DiscoveryOptions{
		Drivers:   drivers(),
		NodeID:    d.dir.NodeID,
		UserAgent: userAgent(),
		Dialer:    markedDialer,
		Cache:     d.dir,
		Log:       d.log,
	})
}
