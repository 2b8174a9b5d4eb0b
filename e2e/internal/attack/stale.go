package attack

import (
	"context"
	"fmt"

	"golang.org/x/net/http2"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// What each address of an attack with old states has: clusters, affiliates of bigData in each,
// and calls about each cluster. It may have no more calls on one connection.
const (
	staleClusters = 10
	staleMachines = 30
	staleCalls    = 25
)

// staleReaders are attacks that make the server keep old states of clusters.
func staleReaders() []Attack {
	return []Attack{
		{Name: "old-watches", Many: true, Flags: noRates, Most: staleMost, run: staleCallsOf("Watch", 25),
			What: "25 addresses with 250 watches of 10 clusters each and a window of 0; of 30 affiliates of 2 KB each, 8 are replaced after each watch, and all at the end"},
		{Name: "old-lists", Many: true, Flags: noRates, Most: staleMost, run: staleCallsOf("List", 25),
			What: "the same with lists"},
	}
}

// staleMost bounds the memory of all that may be encoded for readers, what they are behind, the
// calls, and the garbage there is meanwhile, in MiB.
const staleMost = 896

// staleCallsOf makes calls about clusters of its own on a connection with a window of 0 for each
// address, and replaces affiliates in between.
func staleCallsOf(method string, addresses int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(addresses), func(ctx context.Context, i int, begun func()) error {
			client, err := a.client(i)
			if err != nil {
				return err
			}
			defer client.Close()
			replace := func(k, machines int) error {
				for n := range machines {
					if _, err := client.Call(ctx, "AffiliateUpdate", wire.UpdateRequest(staleCluster(i, k), fmt.Sprintf("machine-%d", n), lifetime, noise(bigData))); err != nil {
						return err
					}
				}
				return nil
			}
			for k := range staleClusters {
				if err := replace(k, staleMachines); err != nil {
					return err
				}
			}
			c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			ended := make(chan error, 1)
			go func() { ended <- c.read(staleClusters * staleCalls) }()
			for n := range staleClusters * staleCalls {
				k := n % staleClusters
				if err := c.call(uint32(2*n+1), method, wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(staleCluster(i, k)))); err != nil {
					return err
				}
				if err := replace(k, staleMachines/4+1); err != nil {
					return err
				}
			}
			for k := range staleClusters {
				if err := replace(k, staleMachines); err != nil {
					return err
				}
			}
			begun()
			return <-ended
		})
	}
}

func staleCluster(address, k int) string { return fmt.Sprintf("stale-%d-%d", address, k) }
