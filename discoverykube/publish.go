package discoverykube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
)

// minWriteInterval is the least time between two writes of the own Node.
const minWriteInterval = time.Second

// The pauses after a write that failed double from the first to the longest.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 20 * time.Second
)

// Publish implements reconciler.Registry. Annotations have no place for harvested endpoints.
func (c *client) Publish(p reconciler.Publication) {
	if c.readOnly {
		return
	}
	c.mu.Lock()
	c.wanted = &p.Local
	c.mu.Unlock()
	notify(c.ownOutdated)
}

// keepPublished writes the annotations of this machine's Node when they are not as
// published, until ctx ends.
func (c *client) keepPublished(ctx context.Context) {
	pauses := retry.New(firstPause, longestPause)
	limit := newDefence()
	for ctx.Err() == nil {
		if !c.isOutdated() {
			select {
			case <-ctx.Done():
			case <-c.ownOutdated:
			case now := <-time.After(rivalAge / 4):
				if c.expireRival(now) {
					c.notifyChanged()
				}
			}
			continue
		}
		if !c.awaitTurn(ctx, limit) {
			continue
		}
		local, outdated := c.outdated()
		if !outdated {
			continue
		}
		wait := minWriteInterval
		err := c.apply(ctx, local)
		switch {
		case err == nil:
			c.clearFault(notPublished)
			pauses.Reset()
		case ctx.Err() == nil:
			c.setFault(notPublished, patchNode, err)
			wait = pauses.Next()
		}
		_ = retry.Wait(ctx, wait, nil) // an error is the end of ctx
	}
}

// awaitTurn waits before a write that reverts changes of others, and reports whether the
// write is due. What Publish is called with meanwhile ends the wait.
func (c *client) awaitTurn(ctx context.Context, limit *rate.Limiter) bool {
	c.mu.Lock()
	contested, wanted := c.changedByOthers(), c.wantedAnnotations()
	isNew := c.noteRival(time.Now())
	c.mu.Unlock()
	if isNew {
		c.notifyChanged()
	}
	if !contested {
		return true
	}
	reservation := limit.Reserve()
	wait := reservation.Delay()
	c.log.Warn("kubernetes node changed by others", "node", c.nodeName, "write_in", wait.Round(time.Millisecond).String())
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-c.ownOutdated:
			c.mu.Lock()
			changed := !maps.Equal(c.wantedAnnotations(), wanted)
			c.mu.Unlock()
			if changed || !c.isOutdated() {
				reservation.Cancel()
				return changed
			}
		}
	}
}

// wantedAnnotations returns the annotations that Publish asks for. The caller holds c.mu.
func (c *client) wantedAnnotations() map[string]string {
	if c.wanted == nil {
		return nil
	}
	return encode(*c.wanted)
}

// isOutdated reports whether the own Node has to be written.
func (c *client) isOutdated() bool {
	_, outdated := c.outdated()
	return outdated
}

// outdated returns what Publish was called with last, and reports whether the annotations
// of the own Node differ from it. Differences that the last write did not remove are left.
func (c *client) outdated() (mesh.Affiliate, bool) {
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
func (c *client) apply(ctx context.Context, local mesh.Affiliate) error {
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
	c.disconnectAfter(err)
	if err != nil {
		return err
	}
	n := newNode(applied)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied, c.applyResult = wanted, n.annotations
	if !c.own.isNewerThan(n) {
		c.own = &n
	}
	return nil
}

// Announce implements reconciler.Registry.
func (c *client) Announce(ctx context.Context, local mesh.Affiliate) error {
	if c.readOnly {
		return reconciler.ErrReadOnly
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

func (c *client) fetchOwn(ctx context.Context) error {
	c.mu.Lock()
	known := c.own != nil
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.Fetch(ctx)
}

// Leave implements reconciler.Registry.
func (c *client) Leave(ctx context.Context) error {
	if c.readOnly {
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
