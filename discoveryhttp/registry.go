package discoveryhttp

import (
	"fmt"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/schema"
)

var _ reconciler.Registry = (*Client)(nil)

// Driver opens a Client for a config that enables cluster.discovery.registries.service.
func Driver() reconciler.Driver {
	return reconciler.Driver{Name: "service", Settings: settings, Open: func(o reconciler.RegistryOptions) (reconciler.Registry, error) {
		return Open(o)
	}}
}

func settings(config *schema.Config) any {
	discovery := config.Cluster.Discovery
	if !discovery.Enabled || discovery.Registries.Service.Disabled {
		return nil
	}
	return discovery.Registries.Service
}

// Open returns a Client with the settings of a config. The config may come from a machine
// that is not a member.
func Open(o reconciler.RegistryOptions) (*Client, error) {
	secret, err := o.Config.Cluster.Secret.Key()
	if err != nil {
		return nil, fmt.Errorf("cluster.secret %w", err)
	}
	service := o.Config.Cluster.Discovery.Registries.Service
	return NewClient(Options{
		Endpoints: service.URLs(),
		Protocol:  Protocol(service.Protocol),
		CA:        service.CA,
		ClusterID: o.Config.Cluster.ID,
		Secret:    secret,
		NodeID:    o.NodeID,
		UserAgent: o.UserAgent,
		Dial:      o.Dial,
		Prove:     o.Prove,
		Cache:     o.Cache,
		Changed:   o.Changed,
		Log:       o.Log,
	})
}
