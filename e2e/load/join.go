package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// joined is what a join measures.
type joined struct {
	// cpu is the server's processor time, wall the time until all machines knew all.
	cpu, wall time.Duration
	// messages is the number of messages of all watches.
	messages int64
}

// crowd is machines that join one cluster at once.
type crowd struct {
	server   *server
	size     int
	messages atomic.Int64
	// missing counts the machines that do not know all others.
	missing sync.WaitGroup
}

const joinCluster = "join"

// join lets machines join a cluster at once: each connects, calls Hello, and then watches
// and publishes itself, as Talos' client does. It waits until each knows all.
func join(ctx context.Context, s *server, machines int) (joined, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &crowd{server: s, size: machines}
	c.missing.Add(machines)
	whole := make(chan struct{})
	go func() {
		c.missing.Wait()
		close(whole)
	}()
	var group *errgroup.Group
	took, err := timed(s, machines, func() error {
		var failed context.Context
		group, failed = errgroup.WithContext(ctx)
		for i := range machines {
			group.Go(func() error { return c.machine(failed, i) })
		}
		select {
		case <-whole:
			return nil
		case <-failed.Done():
			return group.Wait()
		}
	})
	cancel()
	_ = group.Wait() // whoever is whole is closed
	return joined{took.cpu, took.wall, c.messages.Load()}, err
}

// machine is one that joins. It stays until ctx ends.
func (c *crowd) machine(ctx context.Context, i int) error {
	conn, err := dial(ctx, c.server.address, address(i))
	if err != nil {
		return err
	}
	defer conn.close()
	known, knows := make([]bool, c.size), 0
	watch := answer{
		message: func(message []byte) error {
			c.messages.Add(1)
			before := knows
			eachAffiliate(message, func(_, data []byte) {
				if n := numberOf(data); n < uint64(c.size) && !known[n] {
					known[n] = true
					knows++
				}
			})
			if before < c.size && knows == c.size {
				c.missing.Done()
			}
			return nil
		},
		ended: func(err error) error { return fmt.Errorf("a watch ended: %w", err) },
	}
	updated := answer{ended: func(err error) error { return err }}
	conn.start("Hello", clusterRequest(joinCluster), answer{ended: func(err error) error {
		conn.start("Watch", clusterRequest(joinCluster), watch)
		conn.start("AffiliateUpdate", updateRequest(nil, published(joinCluster, "machine-"+strconv.Itoa(i), uint64(i))), updated)
		return err
	}})
	return conn.serve()
}

// numberOf returns the number in the data of a published affiliate.
func numberOf(data []byte) uint64 {
	if len(data) < 8 {
		return 1 << 63
	}
	return binary.LittleEndian.Uint64(data)
}
