package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// watched is what a fanout measures.
type watched struct {
	cost
	// delays are those of all updates until each watcher had them, sorted.
	delays []time.Duration
}

// percentile returns a percentile of the delays, in ms.
func (w watched) percentile(p float64) float64 {
	i := min(len(w.delays)-1, int(float64(len(w.delays))*p))
	return float64(w.delays[i]) / float64(time.Millisecond)
}

// audience is the watchers of a fanout.
type audience struct {
	server *server
	// each is the number of watchers of a connection, updates that of updates.
	conns, each, updates int
	// ready is done once for each watcher that has its first message.
	ready sync.WaitGroup
}

const fanoutCluster = "fanout"

// fanout sends updates to watchers of one cluster, at a rate per second. The watchers are
// spread over conns connections.
func fanout(ctx context.Context, s *server, watchers, conns, rate int, lasting time.Duration) (watched, error) {
	a := &audience{server: s, conns: conns, each: watchers / conns, updates: int(lasting.Seconds() * float64(rate))}
	a.ready.Add(a.conns * a.each)
	ready := make(chan struct{})
	go func() {
		a.ready.Wait()
		close(ready)
	}()
	group, ctx := errgroup.WithContext(ctx)
	delays := make([][]time.Duration, conns)
	for k := range conns {
		group.Go(func() (err error) {
			delays[k], err = a.listen(ctx, k)
			return err
		})
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return watched{}, group.Wait()
	}
	c, err := timed(s, a.updates*a.conns*a.each, func() error {
		group.Go(func() error { return send(ctx, s, a.updates, rate) })
		return group.Wait()
	})
	all := slices.Concat(delays...)
	slices.Sort(all)
	return watched{c, all}, err
}

// listen watches on one connection until its watchers have all updates. It returns their
// delays. The connection lasts until ctx ends, so that its end is not measured.
func (a *audience) listen(ctx context.Context, k int) ([]time.Duration, error) {
	c, err := dial(ctx, a.server.address, address(k))
	if err != nil {
		return nil, err
	}
	delays := make([]time.Duration, 0, a.each*a.updates)
	for range a.each {
		first := true
		c.start("Watch", clusterRequest(fanoutCluster), answer{
			message: func(message []byte) error {
				if first {
					first = false
					a.ready.Done()
					return nil
				}
				now := time.Now()
				eachAffiliate(message, func(_, data []byte) { delays = append(delays, now.Sub(sentAt(data))) })
				if len(delays) == cap(delays) {
					return errDone
				}
				return nil
			},
			ended: func(err error) error { return fmt.Errorf("a watch ended: %w", err) },
		})
	}
	return delays, c.serve()
}

// send sends updates at a rate, each of another affiliate, and waits until all are
// acknowledged.
func send(ctx context.Context, s *server, updates, rate int) error {
	c, err := dial(ctx, s.address, address(1<<15))
	if err != nil {
		return err
	}
	defer c.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		defer ticker.Stop()
		acknowledged := 0
		a := answer{ended: func(err error) error {
			if acknowledged++; err == nil && acknowledged == updates {
				return errDone
			}
			return err
		}}
		for i := range updates {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			c.start("AffiliateUpdate", updateRequest(nil, stamped(fanoutCluster, strconv.Itoa(i))), a)
			if err := c.flush(); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(c.serve)
	return group.Wait()
}
