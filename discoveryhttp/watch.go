package discoveryhttp

import (
	"context"
	"errors"
	"maps"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/retry"
)

// errStreamEnded is the error of a watch that the service has ended without one.
var errStreamEnded = errors.New("the service ended the stream")

// watchLoop follows the service until ctx ends.
func (s *service) watchLoop(ctx context.Context) {
	pauses := retry.New(firstPause, maxPause)
	var failures outage
	for {
		started := time.Now()
		err := s.watch(ctx, func() {
			s.client.log.Info("discovery connected", "endpoint", s.endpoint)
			failures.resolved()
		})
		s.mu.Lock()
		s.confirm(time.Now())
		s.membership.disconnect(time.Now())
		s.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > maxPause {
			pauses.Reset()
		}
		wait := pauses.Next()
		s.client.log.Log(ctx, failures.level(), "discovery unreachable", "endpoint", s.endpoint, "error", err, "retry_in", roundPause(wait))
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// watch follows the service until the stream ends, which is always an error. It calls
// connected at the first message.
func (s *service) watch(ctx context.Context, connected func()) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.current().watch.CallServerStream(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	messages := make(chan *message)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return receive(groupCtx, stream, messages) })
	group.Go(func() error { return s.verifyDeletions(groupCtx) })
	expiry := time.NewTicker(deletionGrace / 2)
	defer expiry.Stop()
	for first := true; ; {
		var changed bool
		select {
		case <-groupCtx.Done():
			cancel()
			return group.Wait()
		case m := <-messages:
			if first {
				connected()
			}
			if first {
				s.handleSnapshot(m.affiliates)
				// The service may have been restarted and not know this machine.
				s.publishSoon()
				first, changed = false, true
			} else {
				changed = s.handle(m)
			}
		case now := <-expiry.C:
			changed = s.expire(now)
		}
		if changed {
			s.client.changed()
		}
	}
}

// receive passes on the messages of a stream until it ends, which is always an error.
func receive(ctx context.Context, stream *connect.ServerStreamForClient[message], messages chan<- *message) error {
	for stream.Receive() {
		select {
		case messages <- stream.Msg():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return errStreamEnded
}

// handleSnapshot takes all affiliates that the service has.
func (s *service) handleSnapshot(all []sealed) {
	now := time.Now()
	s.mu.Lock()
	s.shown = 0
	s.mu.Unlock()
	o := s.open(now, all, false)
	s.mu.Lock()
	if !s.hasAnswered() {
		close(s.answered)
	}
	s.pruneRefused(all)
	s.membership.snapshot(now, o.affiliates)
	s.mu.Unlock()
	s.forgetLeft(o.left)
}

// handle takes a message of the stream after the first.
func (s *service) handle(m *message) (changed bool) {
	now := time.Now()
	if m.deleted {
		return s.handleDeletion(now, m.affiliates)
	}
	o := s.open(now, m.affiliates, true)
	s.mu.Lock()
	for _, a := range o.affiliates {
		changed = s.membership.set(now, a) || changed
	}
	s.mu.Unlock()
	return s.forgetLeft(o.left) || changed
}

// handleDeletion takes the affiliates that the service has deleted. A machine that is alive
// publishes itself again.
func (s *service) handleDeletion(now time.Time, affiliates []sealed) (changed bool) {
	grace := deletionGrace
	if s.client.options.NodeID == "" {
		grace = 0 // an onlooker, who has no tunnels to keep
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range affiliates {
		id := a.id
		if id == s.client.options.NodeID {
			s.shown = 0
			if s.accepted.sequence != 0 {
				s.defend(wasDeleted)
			}
		}
		if sequence, has := s.membership.current(id); has {
			s.client.newest.confirm(now, id, sequence)
		}
		if s.membership.isUnnumbered(id) {
			s.verifySoon()
		}
		_, wasRefused := s.refused[id]
		delete(s.refused, id)
		s.membership.delete(now, id, grace)
		changed = changed || wasRefused
	}
	if grace == 0 {
		_, gone := s.membership.expire(now)
		changed = changed || gone
	}
	return changed
}

// forgetLeft forgets machines that have left the mesh. All other services forget them, too: one
// that is unreachable now would otherwise keep them until their TTL ends.
func (s *service) forgetLeft(ids []string) (changed bool) {
	if len(ids) == 0 {
		return false
	}
	s.mu.Lock()
	for _, id := range ids {
		changed = s.membership.remove(id) || changed
	}
	s.mu.Unlock()
	s.client.deleted(s, ids)
	return changed
}

// expire forgets what has had its time.
func (s *service) expire(now time.Time) (changed bool) {
	s.mu.Lock()
	deleted, changed := s.membership.expire(now)
	for id, r := range s.refused {
		if _, replaced := s.membership.current(id); replaced && !r.showUntil.After(now) {
			delete(s.refused, id)
			changed = true
		}
	}
	s.mu.Unlock()
	if len(deleted) > 0 {
		s.client.deleted(s, deleted)
	}
	return s.client.expireRivals(now) || changed
}

// pruneRefused forgets refused affiliates that a snapshot does not have. s.mu is held.
func (s *service) pruneRefused(snapshot []sealed) {
	present := make(map[string]bool, len(snapshot))
	for _, a := range snapshot {
		present[a.id] = true
	}
	maps.DeleteFunc(s.refused, func(id string, _ refusal) bool { return !present[id] })
}
