package attack

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// The cluster that readers attack with.
const (
	bigCluster = "big"
	// bigMachines and bigData are the number of its affiliates, and their size in bytes.
	bigMachines = 1024
	bigData     = 2048
)

// readers are attacks by clients that do not read what they asked for.
func readers() []Attack {
	return []Attack{
		{Name: "window-watches", Most: readersMost, run: unreadStreams("Watch", 1, 900),
			What: "900 watches on one connection, of which it may have 250, with an HTTP/2 window of 0, of a cluster of 1,024 affiliates of 2 KB that changes"},
		{Name: "window-watches-connections", Most: readersMost, run: unreadStreams("Watch", 100, 90),
			What: "the same, 90 on each of 100 connections"},
		{Name: "window-watches-addresses", Many: true, Most: readersMost, run: unreadStreams("Watch", 100, 90),
			What: "the same, each connection from its own address"},
		{Name: "window-lists", Most: readersMost, run: unreadStreams("List", 4, 900),
			What: "lists of that cluster, 900 on each of 4 connections, of which each may have 250, with an HTTP/2 window of 0"},
		{Name: "tcp-watches", Most: readersMost, run: stalledWatches(1000),
			What: "1,000 connections with a watch of that cluster each, which stop reading from TCP"},
		{Name: "tcp-watches-addresses", Many: true, Most: readersMost, run: stalledWatches(1000),
			What: "the same, each from its own address"},
		{Name: "tcp-lists", Many: true, Most: readersMost, run: stalledLists(500),
			What: "500 addresses that ask for lists in JSON by HTTP/1.1, and stop reading from TCP"},
		{Name: "snapshots", Most: readersMost, run: snapshots(4, 225),
			What: "900 watches on 4 connections with a window of 0, between each of which the cluster changes, so that each has another first message"},
		{Name: "unread-hello", Most: readersMost, Flags: noRates, run: unreadCalls("Hello", 100, 250),
			What: "25,000 calls of Hello whose answers are not taken, without limits on rates"},
		{Name: "unread-hello-connections", Most: readersMost, Flags: noRates, run: unreadCalls("Hello", 1000, 250),
			What: "250,000 of them, of which an address may have 8,192"},
		{Name: "unread-errors", Most: readersMost, Flags: noRates, run: unreadErrors(1000, 250),
			What: "250,000 calls without an ID, on 1,000 connections that stop reading from TCP"},
		{Name: "unread-lists", Most: readersMost, Flags: noRates, run: unreadCalls("List", 100, 250),
			What: "25,000 lists of a small cluster that are not taken, without limits on rates"},
		{Name: "small-snapshots", Most: readersMost, run: smallSnapshots(16),
			What: "4,000 watches with a window of 0 of a cluster of 28 affiliates of 2 KB that changes between each of them"},
	}
}

// readersMost bounds the memory of all that is sent and not read, in MiB.
const readersMost = 256

// withCluster passes attack a full cluster that changes all the time.
func (a *attacker) withCluster(ctx context.Context, attack func(ctx context.Context) error) error {
	machines := a.size(bigMachines)
	if err := a.fill(ctx, bigCluster, machines, bigData); err != nil {
		return err
	}
	changing := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(changing)
		a.churn(ctx, bigCluster, machines, bigData)
	}()
	err := attack(ctx)
	cancel()
	<-changing
	return err
}

// unreadStreams makes calls on connections that never open their window.
func unreadStreams(method string, connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.withCluster(ctx, func(ctx context.Context) error {
			return a.leaveUnread(ctx, method, bigCluster, connections, streams)
		})
	}
}

// leaveUnread makes calls about a cluster on connections that never open their window.
func (a *attacker) leaveUnread(ctx context.Context, method, cluster string, connections, streams int) error {
	return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
		c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize})
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for k := range streams {
			if err := c.call(uint32(2*k+1), method, wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(cluster))); err != nil {
				return err
			}
		}
		begun()
		return c.read(streams)
	})
}

// smallBuffer is the receive buffer of a client that stops reading, in bytes.
const smallBuffer = 4096

// stalledWatches watches with open windows on connections that are not read.
func stalledWatches(connections int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.withCluster(ctx, func(ctx context.Context) error {
			return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
				conn, err := a.connect(ctx, i, smallBuffer)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				c, err := newH2(conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
				if err != nil {
					return err
				}
				if err := c.frames.WriteWindowUpdate(0, maxWindow-(1<<16)); err != nil {
					return err
				}
				if err := c.frames.WriteSettingsAck(); err != nil {
					return err
				}
				if err := c.call(1, "Watch", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(bigCluster))); err != nil {
					return err
				}
				begun()
				return c.keepAlive(ctx)
			})
		})
	}
}

// keepAlive pings until the connection breaks.
func (c *h2) keepAlive(ctx context.Context) error {
	for Pause(ctx, time.Second) {
		if err := c.frames.WritePing(false, [8]byte{}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// unreadErrors makes calls that are refused on connections that are not read.
func unreadErrors(connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			conn, err := a.connect(ctx, i, smallBuffer)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			c, err := newH2(conn)
			if err != nil {
				return err
			}
			for k := range streams {
				if err := c.call(uint32(2*k+1), "Hello", wire.TypeGRPC, wire.Framed(0, nil)); err != nil {
					return err
				}
			}
			begun()
			return c.keepAlive(ctx)
		})
	}
}

// stalledLists asks for lists in HTTP/1.1 on connections that are not read.
func stalledLists(connections int) func(context.Context, *attacker) error {
	body := fmt.Sprintf(`{"clusterId":%q}`, bigCluster)
	request := fmt.Sprintf("POST %sList HTTP/1.1\r\nHost: discovery\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", wire.Service, wire.TypeJSON, len(body), body)
	return func(ctx context.Context, a *attacker) error {
		return a.withCluster(ctx, func(ctx context.Context) error {
			return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
				conn, err := a.connect(ctx, i, smallBuffer)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				if _, err := io.WriteString(conn, strings.Repeat(request, 10)); err != nil {
					return err
				}
				begun()
				for Pause(ctx, time.Second) {
					if _, err := io.WriteString(conn, request); err != nil {
						return err
					}
				}
				return ctx.Err()
			})
		})
	}
}

// snapshots watches on connections with a window of 0, and changes the cluster in between.
func snapshots(connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		machines := a.size(bigMachines)
		if err := a.fill(ctx, bigCluster, machines, bigData); err != nil {
			return err
		}
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			ended := make(chan error, 1)
			go func() { ended <- c.read(a.size(streams)) }()
			for k := range a.size(streams) {
				if err := c.call(uint32(2*k+1), "Watch", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(bigCluster))); err != nil {
					return err
				}
				// A server under attack may refuse it.
				_ = a.publish(ctx, bigCluster, k%machines, bigData)
			}
			begun()
			return <-ended
		})
	}
}

// The cluster of attacks with small answers, with bigData for each of its affiliates.
const (
	smallCluster  = "small"
	smallMachines = 28
)

// smallSnapshots watches a small cluster on connections with a window of 0, as often as one may,
// and changes the cluster in between.
func smallSnapshots(connections int) func(context.Context, *attacker) error {
	const streams = 250
	return func(ctx context.Context, a *attacker) error {
		if err := a.fill(ctx, smallCluster, smallMachines, bigData); err != nil {
			return err
		}
		return a.crew(ctx, a.size(connections), func(ctx context.Context, i int, begun func()) error {
			c, err := a.dialH2(ctx, i, http2.Setting{ID: http2.SettingInitialWindowSize})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			ended := make(chan error, 1)
			go func() { ended <- c.read(streams) }()
			for k := range streams {
				if err := c.call(uint32(2*k+1), "Watch", wire.TypeGRPC, wire.Framed(0, wire.ClusterRequest(smallCluster))); err != nil {
					return err
				}
				// A server under attack may refuse it.
				_ = a.publish(ctx, smallCluster, k%smallMachines, bigData)
			}
			begun()
			return <-ended
		})
	}
}

// unreadCalls makes calls that are over at once on connections that never open their window.
func unreadCalls(method string, connections, streams int) func(context.Context, *attacker) error {
	return func(ctx context.Context, a *attacker) error {
		if err := a.fill(ctx, smallCluster, 4, 100); err != nil {
			return err
		}
		return a.leaveUnread(ctx, method, smallCluster, connections, streams)
	}
}
