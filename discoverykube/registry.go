package discoverykube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// nodeNameVariable names the Node that a pod runs on: a pod may have a host name of its own.
const nodeNameVariable = "NODE_NAME"

// Driver opens the registry for a config that enables
// cluster.discovery.registries.kubernetes, or that advertises the networks of the pods on
// this machine.
func Driver() reconciler.Driver {
	return reconciler.Driver{Name: "kubernetes", Settings: settingsOf, Open: open}
}

// settings is what the registry depends on.
type settings struct {
	schema.KubernetesRegistry
	// podNetworks is set if the networks of the pods on this machine are needed.
	podNetworks bool
}

func settingsOf(config *schema.Config) any {
	s := settings{config.Cluster.Discovery.Registries.Kubernetes, config.KubeSpan().AdvertiseKubernetesNetworks}
	if !config.Cluster.Discovery.Enabled || s.Disabled && !s.podNetworks {
		return nil
	}
	return s
}

var _ reconciler.Registry = (*client)(nil)

func open(o reconciler.RegistryOptions) (reconciler.Registry, error) {
	config := o.Config.Cluster.Discovery.Registries.Kubernetes
	name, err := nodeNameOf(config)
	if err != nil {
		return nil, err
	}
	var remembered cacheContent
	if o.Cache != nil {
		if err := json.Unmarshal(o.Cache, &remembered); err != nil {
			o.Log.Warn("discovery cache not readable; starting without it", "error", err)
		}
		remembered.Affiliates = slices.DeleteFunc(remembered.Affiliates, func(a *mesh.Affiliate) bool { return a == nil })
	}
	return newClient(options{
		kubeconfig: config.Kubeconfig, nodeName: name, nodeID: o.NodeID, apiServerPort: config.APIServerPort, readOnly: config.Disabled,
		userAgent: o.UserAgent, dial: o.Dial, changed: o.Changed, log: o.Log,
	}, remembered), nil
}

// nodeNameOf returns the name of the machine's Node, by the rules of a kubelet.
func nodeNameOf(k schema.KubernetesRegistry) (string, error) {
	if name := cmp.Or(k.NodeName, os.Getenv(nodeNameVariable)); name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the name of the Node: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(host)), nil
}
