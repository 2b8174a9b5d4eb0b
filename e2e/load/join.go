package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// joined is what a join measures.
type joined struct {
	// cpu is the server's processor time, wall the time until all machines knew all.
	cpu, wall time.Duration
	// messages is the number of messages of all watches, lost that of connections that
	// failed.
	messages, lost int64
}

// crowd is machines that join one cluster at once.
type crowd struct {
	server   *server
	size     int
	messages atomic.Int64
	lost     atomic.Int64
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
	var running sync.WaitGroup
	took, err := timed(s, machines, func() error {
		for i := range machines {
			running.Go(func() { c.machine(ctx, i) })
		}
		select {
		case <-whole:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("not all machines know all: %w", ctx.Err())
		}
	})
	cancel()
	running.Wait()
	return joined{took.cpu, took.wall, c.messages.Load(), c.lost.Load()}, err
}

// machine is one that joins. It stays until ctx ends, and connects again when its connection
// fails.
func (c *crowd) machine(ctx context.Context, i int) {
	known := &roster{known: make([]bool, c.size)}
	for {
		_ = c.connect(ctx, i, known) // is counted
		if ctx.Err() != nil {
			return
		}
		c.lost.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(reconnectAfter):
		}
	}
}

// reconnectAfter is how long a machine waits after its connection has failed.
const reconnectAfter = time.Second

// roster is what a machine knows of the others.
type roster struct {
	known []bool
	count int
}

// learn takes an encoded WatchResponse, and reports whether the last machine was in it that
// was not known before.
func (r *roster) learn(message []byte) bool {
	before := r.count
	eachAffiliate(message, func(_, data []byte) {
		if n := numberOf(data); n < uint64(len(r.known)) && !r.known[n] {
			r.known[n] = true
			r.count++
		}
	})
	return before < r.count && r.count == len(r.known)
}

// connect connects a machine until ctx ends or its connection fails.
func (c *crowd) connect(ctx context.Context, i int, known *roster) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := dial(ctx, c.server.address, address(i))
	if err != nil {
		return err
	}
	watch := answer{
		message: func(message []byte) error {
			c.messages.Add(1)
			if known.learn(message) {
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
