package discoverykube

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Publish says what the annotations of this machine's Node are from now on. It does not
// wait.
func (c *Client) Publish(local mesh.Affiliate) {
	if c.options.OwnNode {
		return
	}
	c.mu.Lock()
	c.wanted = &local
	c.mu.Unlock()
	signal(c.kick)
}

// keep writes the annotations of this machine's Node whenever they are not what they
// should be, until ctx ends.
func (c *Client) keep(ctx context.Context) {
	pause := pauses()
	for ctx.Err() == nil {
		wait := time.Duration(-1)
		if local, due := c.due(); due {
			if err := c.apply(ctx, local); err != nil && ctx.Err() == nil {
				c.complain(notPublished, err)
				wait = pause.NextBackOff()
			} else {
				pause.Reset()
				wait = calm
			}
		}
		if wait < 0 {
			select {
			case <-ctx.Done():
			case <-c.kick:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// due is what is to be published, if the Node does not have it.
func (c *Client) due() (mesh.Affiliate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == nil || c.own == nil {
		return mesh.Affiliate{}, false
	}
	wanted := Encode(*c.wanted)
	tried := maps.Equal(c.asked, wanted) && maps.Equal(c.got, c.own.Annotations)
	return *c.wanted, !tried && !maps.Equal(c.own.Annotations, wanted)
}

// apply writes the annotations and notes the Node as it is then.
func (c *Client) apply(ctx context.Context, local mesh.Affiliate) error {
	c.mu.Lock()
	own := c.own
	c.mu.Unlock()
	if own == nil {
		return &apiError{Status: http.StatusNotFound}
	}
	wanted := Encode(local)
	server, err := c.server()
	if err != nil {
		return err
	}
	n, err := server.apply(ctx, own.Name, own.UID, wanted)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own, c.asked, c.got = &n, wanted, n.Annotations
	return nil
}

// Push publishes once.
func (c *Client) Push(ctx context.Context, local mesh.Affiliate) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.ensureOwn(ctx); err != nil {
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

func (c *Client) ensureOwn(ctx context.Context) error {
	c.mu.Lock()
	known := c.own != nil
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.Fetch(ctx)
}

// Leave takes the annotations off this machine's Node. That there is none is no error.
func (c *Client) Leave(ctx context.Context) error {
	if c.options.OwnNode {
		return nil
	}
	if err := c.ensureOwn(ctx); err != nil {
		return err
	}
	err := c.apply(ctx, mesh.Affiliate{})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take this machine off its Node: %w", c.explain(err))
	}
	return nil
}
