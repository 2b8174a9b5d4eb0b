package agent

import (
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoverykube"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/relay/proof"
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

// prove implements reconciler.ProveFunc.
func prove(private mesh.PrivateKey, relay mesh.Key, clusterID string, at time.Time) ([]byte, error) {
	return proof.Make(private.Bytes(), relay, clusterID, at)
}

// newDiscovery returns the machine's membership in registries, without an open one.
func (d *deps) newDiscovery() *reconciler.Discovery {
	return reconciler.NewDiscovery(reconciler.DiscoveryOptions{
		Drivers:   drivers(),
		NodeID:    d.dir.NodeID,
		UserAgent: userAgent(),
		Dialer:    markedDialer,
		Prove:     prove,
		Cache:     d.dir,
		Log:       d.log,
	})
}
