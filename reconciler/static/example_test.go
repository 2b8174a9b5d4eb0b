package static_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/schema"
)

// noCache is a reconciler.CacheStore that keeps nothing.
type noCache struct{}

func (noCache) Load(string, string) ([]byte, error) { return nil, nil }
func (noCache) Save(string, string, []byte) error   { return nil }

// A Discovery with the static peers of a config as its only registry.
func ExampleDriver() {
	discovery := reconciler.NewDiscovery(reconciler.DiscoveryOptions{
		Drivers: []reconciler.Driver{static.Driver()},
		NodeID:  func() (string, error) { return "node-1", nil },
		Cache:   noCache{},
		Log:     slog.New(slog.DiscardHandler),
	})
	config := &schema.Config{}
	config.Cluster.Discovery.Enabled = true
	config.Cluster.Discovery.Registries.Static.Peers = []schema.StaticPeer{{Name: "phone", PublicKey: schema.StaticKey{1}}}
	if err := discovery.Open(config); err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range discovery.Knowledge().Affiliates {
		fmt.Println(a.NodeID)
	}
	fmt.Println(discovery.Announce(context.Background(), mesh.Affiliate{NodeID: "node-1"}))
	// Output:
	// static:phone
	// the config has no registry to publish this machine in: enable cluster.discovery.registries.service or cluster.discovery.registries.kubernetes
}
