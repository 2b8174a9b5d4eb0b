package discoverykube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
)

// minWriteInterval is the least time between two writes of the own Node: another field
// manager may insist on other annotations.
const minWriteInterval = time.Second

// The pauses after a write that failed double from the first to the longest.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 20 * time.Second
)

// Publish sets what the annotations of this machine's Node should be. It does not wait.
func (c *Client) Publish(local mesh.Affiliate) {
	if c.options.OwnNode {
		return
	}
	c.mu.Lock()
	c.wanted = &local
	c.mu.Unlock()
	notify(c.ownChanged)
}

// keepPublished writes the annotations of this machine's Node when they are not as
// published, until ctx ends.
func (c *Client) keepPublished(ctx context.Context) {
	pauses := retry.New(firstPause, longestPause)
	for ctx.Err() == nil {
		local, outdated := c.outdated()
		if !outdated {
			select {
			case <-ctx.Done():
			case <-c.ownChanged:
			}
			continue
		}
		wait := minWriteInterval
		if err := c.apply(ctx, local); err != nil {
			c.fail(ctx, notPublished, err)
			wait = pauses.Next()
		} else {
			c.clearFault(notPublished)
			pauses.Reset()
		}
		_ = retry.Wait(ctx, wait, nil) // an error is the end of ctx
	}
}

// outdated reports whether the annotations of the own Node differ from what is to be
// published, and returns that. Annotations that the last write did not change are left.
func (c *Client) outdated() (mesh.Affiliate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil || c.own == nil {
		return mesh.Affiliate{}, false
	}
	wanted := encode(*c.wanted)
	futile := maps.Equal(c.applied, wanted) && maps.Equal(c.applyResult, c.own.annotations)
	return *c.wanted, !futile && !maps.Equal(c.own.annotations, wanted)
}

// apply writes the annotations, and notes the Node as it is then.
func (c *Client) apply(ctx context.Context, local mesh.Affiliate) error {
	c.mu.Lock()
	own := c.own
	c.mu.Unlock()
	if own == nil {
		return errNoNode
	}
	connection, err := c.connection()
	if err != nil {
		return err
	}
	wanted := encode(local)
	applied, err := connection.apply(ctx, own.name, own.uid, wanted)
	if err != nil {
		return err
	}
	n := newNode(applied)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.applied, c.applyResult = &n, wanted, n.annotations
	return nil
}

// Push publishes local, and waits until that is done.
func (c *Client) Push(ctx context.Context, local mesh.Affiliate) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.fetchOwn(ctx); err != nil {
		return err
	}
	if err := c.apply(ctx, local); err != nil {
		return fmt.Errorf("publish this machine on its Node: %w", c.explain(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = &local
	return nil
}

func (c *Client) fetchOwn(ctx context.Context) error {
	c.mu.Lock()
	known := c.own != nil
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.Fetch(ctx)
}

// Leave removes the annotations from this machine's Node. It is no error if there is no
// such Node.
func (c *Client) Leave(ctx context.Context) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.fetchOwn(ctx); err != nil {
		return err
	}
	err := c.apply(ctx, mesh.Affiliate{})
	if errors.Is(err, errNoNode) || apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove this machine from its Node: %w", c.explain(err))
	}
	return nil
}
