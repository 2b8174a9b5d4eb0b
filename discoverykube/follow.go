package discoverykube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = pauseAtLeast, pauseAtMost, 2
	return b
}

// follow lists and watches until ctx ends.
func (c *Client) follow(ctx context.Context) {
	pause := pauses()
	version := ""
	for ctx.Err() == nil {
		began := time.Now()
		err := c.followOnce(ctx, &version)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > watchAtLeast {
			pause.Reset()
		}
		if statusOf(err) != 0 || errors.Is(err, errUnreadable) {
			// It may be another API server, or what is known not what it has.
			version = ""
		}
		if err == nil || isGone(err) {
			// Usually after minutes; but nothing says so.
			if time.Since(began) < calm {
				c.rest(ctx, calm)
			}
			continue
		}
		c.complain(notFollowed, err)
		if statusOf(err) == http.StatusUnauthorized {
			c.hangUp()
		}
		c.rest(ctx, pause.NextBackOff())
	}
}

// rest waits, but not when the network has changed.
func (c *Client) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-c.again:
		c.hangUp()
	case <-time.After(d):
	}
}

// followOnce lists, where there is no version to go on from, and watches until that
// ends.
func (c *Client) followOnce(ctx context.Context, version *string) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	if *version == "" {
		nodes, listed, err := server.list(ctx, c.only())
		if err != nil {
			c.refuse(err)
			return err
		}
		c.replace(nodes)
		*version = listed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.again:
			c.hangUp()
			cancel()
		case <-stop:
		}
	}()
	last, err := server.watch(ctx, c.only(), *version, c.take)
	*version = last
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// refuse notes that the API server will not tell: waiting for it would keep what has
// left the mesh.
func (c *Client) refuse(err error) {
	if status := statusOf(err); status != http.StatusForbidden && status != http.StatusUnauthorized {
		return
	}
	c.mu.Lock()
	news := !c.heard
	c.heard = true
	c.mu.Unlock()
	if news {
		c.changed()
	}
}

// Fetch reads the Nodes once.
func (c *Client) Fetch(ctx context.Context) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	nodes, _, err := server.list(ctx, c.only())
	if err != nil {
		return fmt.Errorf("list the Nodes of the cluster: %w", c.explain(err))
	}
	c.replace(nodes)
	return nil
}

// replace takes the Nodes of a list.
func (c *Client) replace(nodes []Node) {
	c.mu.Lock()
	c.nodes, c.own, c.heard, c.remembered = map[string]entry{}, nil, true, Remembered{}
	delete(c.why, notFollowed)
	for _, n := range nodes {
		c.put(n)
	}
	missing := c.own == nil
	c.mu.Unlock()
	if missing {
		c.complain(notPublished, &apiError{Status: http.StatusNotFound})
	}
	c.changed()
	signal(c.kick)
}

// take takes a change.
func (c *Client) take(n Node, deleted bool) {
	c.mu.Lock()
	before, own := c.nodes[n.Name], c.own
	if deleted {
		delete(c.nodes, n.Name)
		if n.Name == c.options.NodeName {
			c.own = nil
		}
	} else {
		c.put(n)
	}
	// Nodes change every few minutes, mostly without news for the mesh.
	news := !same(before, c.nodes[n.Name]) || n.Name == c.options.NodeName && !samePods(own, c.own)
	c.mu.Unlock()
	if news {
		c.changed()
	}
	if n.Name == c.options.NodeName {
		signal(c.kick)
	}
}

// put notes a Node. c.mu is held.
func (c *Client) put(n Node) {
	if n.Name == c.options.NodeName {
		c.own = &n
		return
	}
	a, found, err := Decode(n)
	if !found || a.NodeID == c.options.NodeID {
		delete(c.nodes, n.Name)
		return
	}
	c.nodes[n.Name] = entry{a, err}
}

func same(a, b entry) bool {
	x, y := Encode(a.affiliate), Encode(b.affiliate)
	return maps.Equal(x, y) && (a.refused == nil) == (b.refused == nil) && a.affiliate.MachineType == b.affiliate.MachineType &&
		a.affiliate.Hostname == b.affiliate.Hostname && a.affiliate.OperatingSystem == b.affiliate.OperatingSystem
}

func samePods(a, b *Node) bool {
	return a == b || a != nil && b != nil && slices.Equal(a.PodCIDRs, b.PodCIDRs) && a.isControlPlane() == b.isControlPlane()
}
