package attack

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// amplifiers are attacks by calls that make the server send much.
func amplifiers() []Attack {
	return []Attack{
		{Name: "fanout", Most: 384, run: fanout(16, 250),
			What: "one address that watches a cluster 4,000 times, reads all, and updates 1,000 affiliates of 2 KB as fast as the server lets it"},
	}
}

// fanout watches a cluster many times, and changes it all the time.
func fanout(connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		var group errgroup.Group
		group.Go(func() error { return a.updateAll(ctx) })
		group.Go(func() error {
			return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
				c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
				if err != nil {
					return err
				}
				defer func() { _ = c.Close() }()
				for k := range streams {
					if err := c.call(uint32(2*k+1), "Watch", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(bigCluster))); err != nil {
						return err
					}
				}
				begun()
				return c.readAll()
			})
		})
		return group.Wait()
	}
}

// updateAll updates affiliates until ctx ends. Refused updates are tried again.
func (a *attacker) updateAll(ctx context.Context) error {
	const callers, ids = 64, 1000
	c, err := a.client(ownAddress)
	if err != nil {
		return err
	}
	defer c.Close()
	var next atomic.Int64
	var group errgroup.Group
	for range callers {
		group.Go(func() error {
			data := noise(bigData)
			for ctx.Err() == nil {
				id := fmt.Sprintf("machine-%d", next.Add(1)%ids)
				if _, err := c.Call(ctx, "AffiliateUpdate", wire.UpdateRequest(bigCluster, id, lifetime, data)); err != nil {
					Pause(ctx, retryAfter)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// readAll reads all that the server sends, and lets it send more, until the connection ends.
func (c *h2) readAll() error {
	const refill = 32 << 10
	taken := uint32(0)
	for {
		frame, err := c.frames.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			err = c.answer(f.IsAck(), c.frames.WriteSettingsAck)
		case *http2.PingFrame:
			err = c.answer(f.IsAck(), func() error { return c.frames.WritePing(true, f.Data) })
		case *http2.DataFrame:
			if taken += f.Length; taken >= refill {
				err = c.write(func(f *http2.Framer) error { return f.WriteWindowUpdate(0, taken) })
				taken = 0
			}
		}
		if err != nil {
			return err
		}
	}
}
