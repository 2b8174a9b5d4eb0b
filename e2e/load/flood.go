package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// connections is the number of connections that updates come on.
	connections = 8
	// perConnection is the number of calls at once on each.
	perConnection = 8
	// clusters is the number of clusters that updates and affiliates belong to.
	clusters = 1000
)

// cost is what work took.
type cost struct {
	cpu, wall time.Duration
	// count is the number of pieces of work.
	count int
}

// micros returns the processor time of a piece, in µs.
func (c cost) micros() float64 { return float64(c.cpu) / float64(time.Microsecond) / float64(c.count) }

// perSecond returns the pieces per second.
func (c cost) perSecond() float64 { return float64(c.count) / c.wall.Seconds() }

// timed returns what work took, with the server's processor time.
func timed(s *server, count int, work func() error) (cost, error) {
	before, err := s.CPU()
	if err != nil {
		return cost{}, err
	}
	started := time.Now()
	if err := work(); err != nil {
		return cost{}, err
	}
	wall := time.Since(started)
	after, err := s.CPU()
	return cost{after - before, wall, count}, err
}

// member returns the affiliate of the i-th update. There are as many updates of every
// affiliate as of any other, each with other data. Each connection has its own clusters.
func member(i, perCluster int) affiliate {
	return published("cluster-"+strconv.Itoa(i%clusters), "affiliate-"+strconv.Itoa(i/clusters%perCluster), uint64(i))
}

// flood sends n updates of perCluster affiliates in each cluster by gRPC, and waits until
// all are acknowledged.
func flood(ctx context.Context, s *server, n, perCluster int) error {
	return floodWith(ctx, s, n, func(i int) affiliate { return member(i, perCluster) })
}

// floodWith sends n updates by gRPC, and waits until all are acknowledged.
func floodWith(ctx context.Context, s *server, n int, affiliate func(i int) affiliate) error {
	group, ctx := errgroup.WithContext(ctx)
	for k := range connections {
		group.Go(func() error {
			c, err := dial(ctx, s.address, address(k))
			if err != nil {
				return err
			}
			defer c.close()
			f := &flooder{conn: c, next: k, total: n, affiliate: affiliate}
			for range perConnection {
				f.start()
			}
			return c.serve()
		})
	}
	return group.Wait()
}

// flooder sends the updates of a connection.
type flooder struct {
	conn *conn
	// next is the number of the next update, of total in all.
	next, total int
	affiliate   func(i int) affiliate
	running     int
	request     []byte
}

// start starts the next update if there is one.
func (f *flooder) start() {
	if f.next >= f.total {
		return
	}
	f.request = updateRequest(f.request[:0], f.affiliate(f.next))
	f.next += connections
	f.running++
	f.conn.start("AffiliateUpdate", f.request, answer{ended: f.ended})
}

func (f *flooder) ended(err error) error {
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	f.running--
	f.start()
	if f.running == 0 {
		return errDone
	}
	return nil
}

// lists calls List n times, one after another.
func lists(ctx context.Context, s *server, cluster string, n int) error {
	c, err := dial(ctx, s.address, address(0))
	if err != nil {
		return err
	}
	defer c.close()
	for range n {
		c.start("List", clusterRequest(cluster), answer{ended: func(err error) error {
			if err != nil {
				return fmt.Errorf("list: %w", err)
			}
			return errDone
		}})
		if err := c.serve(); err != nil {
			return err
		}
	}
	return nil
}
