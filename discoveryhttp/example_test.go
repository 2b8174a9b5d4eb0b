package discoveryhttp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Two machines of a cluster meet at a discovery service.
func ExampleClient() {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	service := server.New(ctx, server.Options{Store: store.NewMemory(store.Limits{}), Limits: server.DefaultLimits(), Log: quiet})
	listener := httptest.NewServer(service.Handler())
	defer listener.Close()

	join := func(nodeID string) *discoveryhttp.Client {
		client, err := discoveryhttp.NewClient(discoveryhttp.Options{
			Endpoints: []string{listener.URL},
			Protocol:  discoveryhttp.Connect,
			ClusterID: "example",
			Secret:    [32]byte{1, 2, 3},
			NodeID:    nodeID,
			Log:       quiet,
		})
		if err != nil {
			panic(err)
		}
		return client
	}
	one, two := join("node-1"), join("node-2")
	if err := one.Announce(ctx, mesh.Affiliate{NodeID: "node-1", Hostname: "alpha"}); err != nil {
		fmt.Println(err)
	}
	if err := two.Fetch(ctx); err != nil {
		fmt.Println(err)
	}
	for _, a := range two.Snapshot().Affiliates {
		fmt.Println(a.NodeID, "is", a.Hostname)
	}
	// Output: node-1 is alpha
}
