package attack

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// noRates are the flags of a server without rates, so that its other bounds are met.
var noRates = []string{"--rate-per-address", "0", "--rate-per-cluster", "0"}

// squatted is the number of clusters or tokens that are made up.
const squatted = 100_000

// floodsOfClusters are attacks by what the server keeps.
func floodsOfClusters() []Attack {
	return []Attack{
		{Name: "clusters", Most: 256, run: squat(ownSource, "AffiliateUpdate", 2048),
			What: "100,000 clusters from one address"},
		{Name: "clusters-no-rates", Flags: noRates, Most: 256, run: squat(ownSource, "AffiliateUpdate", 2048),
			What: "the same, without limits on rates"},
		{Name: "clusters-addresses", Flags: noRates, Most: storeMost, run: squat(anySource, "AffiliateUpdate", 2048),
			What: "100,000 clusters from 100 addresses, without limits on rates"},
		{Name: "lists-of-clusters", Flags: noRates, Most: 128, run: squat(ownSource, "List", 0),
			What: "lists of 100,000 clusters that nobody has, without limits on rates"},
		{Name: "tokens", Flags: append([]string{"--auth", "member"}, noRates...), Most: 128, run: squat(ownSource, "List", 0),
			What: "made-up tokens for 100,000 clusters that nobody has, with --auth member"},
		{Name: "watches", Most: 128, run: watchedClusters(16, 250, 2),
			What: "250 watches on each of 16 connections from one address, as many as it may have"},
		{Name: "watched-clusters", Most: 384, run: watchedClusters(100, 900, 1),
			What: "900 watches on each of 100 connections, of which each may have 250, from one address, each of a cluster that nobody has"},
	}
}

// storeMost bounds the memory of all that is kept, in MiB.
const storeMost = 1024

// Where squat's callers come from.
func ownSource(int) int   { return ownAddress }
func anySource(k int) int { return k }

const (
	// squatClients is the number of connections that make clusters up.
	squatClients = 100
	// squatTime is how long an attack takes at most until it is in full swing. Rates delay
	// calls.
	squatTime = 30 * time.Second
	// squatCallers is the number of calls at once.
	squatCallers = 64
)

// squat calls a method for many clusters, with data of a size if it is AffiliateUpdate.
func squat(from func(k int) int, method string, size int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		clients := make([]wire.Client, squatClients)
		for k := range clients {
			c, err := a.client(from(k))
			if err != nil {
				return err
			}
			defer c.Close()
			clients[k] = c
		}
		timer := time.AfterFunc(squatTime, a.inFullSwing)
		defer timer.Stop()
		var next atomic.Int64
		data := noise(size)
		var group errgroup.Group
		for range squatCallers {
			group.Go(func() error {
				for i := next.Add(1); ctx.Err() == nil; i = next.Add(1) {
					a.squatOne(ctx, clients[i%squatClients], method, int(i), data)
					if int(i) >= a.size(squatted) {
						a.inFullSwing()
						if !Pause(ctx, retryAfter) {
							return nil
						}
					}
				}
				return nil
			})
		}
		return group.Wait()
	}
}

// squatOne calls a method for the i-th cluster.
func (a *attacker) squatOne(ctx context.Context, c wire.Client, method string, i int, data []byte) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", fmt.Sprintf("Bearer made-up-%d", i))
	cluster := fmt.Sprintf("squatted-%d", i)
	request := wire.ClusterRequest(cluster)
	if method == "AffiliateUpdate" {
		request = wire.UpdateRequest(cluster, "machine", lifetime, data)
	}
	if _, err := c.Call(ctx, method, request); err != nil {
		a.refused.Add(1)
		return
	}
	a.done.Add(1)
}

// watchedClusters watches clusters that nobody has, each on as many streams of a connection.
func watchedClusters(connections, streams, each int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			for k := range streams {
				cluster := fmt.Sprintf("watched-%d-%d", i, k/each)
				if err := c.call(uint32(2*k+1), "Watch", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(cluster))); err != nil {
					return err
				}
			}
			begun()
			return c.read(streams)
		})
	}
}
