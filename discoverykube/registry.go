package discoverykube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// nodeNameVariable has the name of the Node in a pod, whose host name is its own.
const nodeNameVariable = "NODE_NAME"

// Driver opens a Client for a config that enables cluster.discovery.registries.kubernetes,
// or that advertises the networks of the pods on this machine.
func Driver() reconciler.Driver {
	return reconciler.Driver{Name: "kubernetes", Settings: settingsOf, Open: open}
}

// settings is what a registry depends on.
type settings struct {
	schema.KubernetesRegistry
	// podNetworks is set where the networks of the pods on this machine are needed.
	podNetworks bool
}

func settingsOf(config *schema.Config) any {
	s := settings{config.Cluster.Discovery.Registries.Kubernetes, config.KubeSpan().AdvertiseKubernetesNetworks}
	if !config.Cluster.Discovery.Enabled || s.Disabled && !s.podNetworks {
		return nil
	}
	return s
}

// registry is a Client as a reconciler.Registry.
type registry struct {
	*Client
	readOnly      bool
	apiServerPort int
}

var _ reconciler.Registry = (*registry)(nil)

func open(o reconciler.RegistryOptions) (reconciler.Registry, error) {
	kubernetes := o.Config.Cluster.Discovery.Registries.Kubernetes
	name, err := nodeName(kubernetes)
	if err != nil {
		return nil, err
	}
	var remembered Remembered
	if o.Cache != nil {
		if err := json.Unmarshal(o.Cache, &remembered); err != nil {
			o.Log.Warn("discovery cache not readable; starting without it", "error", err)
		}
	}
	client := NewClient(Options{Kubeconfig: kubernetes.Kubeconfig, NodeName: name, NodeID: o.NodeID, OwnNode: kubernetes.Disabled,
		UserAgent: o.UserAgent, Dial: o.Dial, Remembered: remembered, Changed: o.Changed, Log: o.Log})
	return &registry{Client: client, readOnly: kubernetes.Disabled, apiServerPort: kubernetes.APIServerPort}, nil
}

// nodeName returns the name of the machine's Node, by the rules of a kubelet.
func nodeName(k schema.KubernetesRegistry) (string, error) {
	if name := cmp.Or(k.NodeName, os.Getenv(nodeNameVariable)); name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the name of the Node: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(host)), nil
}

// Snapshot implements reconciler.Registry.
func (r *registry) Snapshot() reconciler.Snapshot {
	node := r.Node()
	node.APIServerPort = r.apiServerPort
	return reconciler.Snapshot{Affiliates: r.Affiliates(), Node: node, Refused: r.Refused(), Complete: r.Complete()}
}

// Publish implements reconciler.Registry. Annotations have no place for what is harvested.
func (r *registry) Publish(p reconciler.Publication) { r.Client.Publish(p.Local) }

// Announce implements reconciler.Registry.
func (r *registry) Announce(ctx context.Context, local mesh.Affiliate) error {
	if r.readOnly {
		return reconciler.ErrReadOnly
	}
	return r.Push(ctx, local)
}

// Cache implements reconciler.Registry.
func (r *registry) Cache() ([]byte, error) { return json.Marshal(r.Remember()) }
