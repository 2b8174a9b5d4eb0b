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
	stream, err := s.current().Watch(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	messages := make(chan *serverpb.WatchResponse)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return receive(groupCtx, stream, messages) })
	expiry := time.NewTicker(returnTime / 4)
	defer expiry.Stop()
	for first := true; ; {
		var changed bool
		select {
		case <-groupCtx.Done():
			cancel()
			return group.Wait()
		case message := <-messages:
			if first {
				connected()
			}
			changed = s.handle(message, first)
			if first {
				// The service may have been restarted and not know this machine.
				s.publishSoon()
				first, changed = false, true
			}
		case now := <-expiry.C:
			s.mu.Lock()
			changed = s.membership.expire(now)
			s.mu.Unlock()
		}
		if changed {
			s.client.changed()
		}
	}
}

// receive passes on the messages of a stream until it ends, which is always an error.
func receive(ctx context.Context, stream *connect.ServerStreamForClient[serverpb.WatchResponse], messages chan<- *serverpb.WatchResponse) error {
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

// handle takes a message of the stream.
func (s *service) handle(message *serverpb.WatchResponse, snapshot bool) (changed bool) {
	if message.GetDeleted() {
		s.handleDeletion(message.GetAffiliates())
		return true
	}
	affiliates := s.open(message.GetAffiliates())
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot {
		s.answered = true
		s.pruneRefused(message.GetAffiliates())
		return s.membership.snapshot(now, affiliates)
	}
	for _, a := range affiliates {
		changed = s.membership.set(now, a) || changed
	}
	return changed
}

// handleDeletion forgets affiliates that the service has deleted.
func (s *service) handleDeletion(affiliates []*serverpb.Affiliate) {
	ids := make([]string, len(affiliates))
	s.mu.Lock()
	for i, a := range affiliates {
		ids[i] = a.GetId()
		delete(s.refused, a.GetId())
		s.membership.remove(a.GetId())
	}
	s.mu.Unlock()
	s.client.deleted(s, ids)
}

// pruneRefused forgets refused affiliates that a snapshot does not have. s.mu is held.
func (s *service) pruneRefused(snapshot []*serverpb.Affiliate) {
	present := make(map[string]bool, len(snapshot))
	for _, a := range snapshot {
		present[a.GetId()] = true
	}
	maps.DeleteFunc(s.refused, func(id, _ string) bool { return !present[id] })
}
