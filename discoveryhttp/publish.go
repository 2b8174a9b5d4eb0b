package discoveryhttp

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
)

// finishTimeout is how long an update may go on after the client ends. A service may apply
// an interrupted update late: after the machine has left, it would publish the machine
// again.
const finishTimeout = time.Second

// publishSoon makes publishLoop send an update.
func (s *service) publishSoon() {
	select {
	case s.republish <- struct{}{}:
	default:
	}
}

// publishLoop sends an update when it is due, until ctx ends.
func (s *service) publishLoop(ctx context.Context) {
	pauses := retry.New(firstPause, maxPause)
	var failures outage
	refresh := time.NewTimer(refreshInterval)
	defer refresh.Stop()
	// What the service has of this machine may have a larger sequence. A service that does
	// not stream is published to all the same.
	_ = retry.Wait(ctx, callTimeout, s.answered) // an error is the answer, or the end of ctx
	limit := newDefence()
	var defence, check <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.republish:
		case <-refresh.C:
		case reason := <-s.contested:
			if defence == nil {
				wait := limit.Reserve().Delay()
				s.client.log.Warn("own affiliate changed in discovery", "endpoint", s.endpoint, "what", reason, "publish_in", roundPause(wait))
				defence = time.After(wait)
			}
			continue
		case <-check:
			s.checkShown()
			continue
		case <-defence:
			defence = nil
			s.client.renew(s)
		}
		if err := s.publish(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.note(func(now time.Time, h *works) { h.fail(now, &h.publish, err) })
			wait := pauses.Next()
			s.client.log.Log(ctx, failures.level(), "publishing failed", "endpoint", s.endpoint, "error", err, "retry_in", roundPause(wait))
			s.publishSoon()
			if !s.pause(ctx, wait) {
				return
			}
			continue
		}
		failures.resolved()
		s.note(func(_ time.Time, h *works) { h.publish = trouble{} })
		pauses.Reset()
		refresh.Reset(refreshInterval)
		check = time.After(showTime)
	}
}

// publish sends the client's publication, if there is one.
func (s *service) publish(ctx context.Context) error {
	p, err := s.client.publication()
	if err != nil || p == nil {
		return err
	}
	ctx, cancel := withFinishTime(ctx, finishTimeout)
	defer cancel()
	return s.push(ctx, p)
}

// withFinishTime returns a context that ends some time after ctx does.
func withFinishTime(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// push sends a sealed publication. That others have filled the list of endpoints of a machine is no failure of
// this one.
func (s *service) push(ctx context.Context, p *publication) error {
	endpoints := p.endpoints
	err := s.update(ctx, p.Local.NodeID, p.sealed, endpoints)
	if connect.CodeOf(err) == connect.CodeResourceExhausted && len(p.endpoints) > 0 {
		// The service keeps endpoints of before until they expire, and others may have added some.
		endpoints = s.fitting(endpoints)
		err = s.update(ctx, p.Local.NodeID, p.sealed, endpoints)
	}
	if err != nil {
		return err
	}
	s.accept(p.sequence, endpoints)
	for id, endpoints := range p.Harvested {
		sealed, err := s.client.sealEndpoints(endpoints)
		if err != nil {
			return err
		}
		switch err := s.update(ctx, id, nil, sealed); {
		case isFull(err):
			// The next publication tries again, which is after refreshInterval at the latest.
			s.client.log.Debug("no room for endpoints of another machine", "endpoint", s.endpoint, "machine", id, "error", err)
		case err != nil:
			return err
		}
	}
	return nil
}

// isFull reports whether a service has no room for what it was sent, rather than no time for the call.
func isFull(err error) bool {
	refused, ok := errors.AsType[*connect.Error](err)
	return ok && refused.Code() == connect.CodeResourceExhausted && refused.Meta().Get("Retry-After") == ""
}

// fitting returns the endpoints for which a service has room besides those that it keeps.
func (s *service) fitting(endpoints [][]byte) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make(map[string]bool, len(s.kept))
	for _, e := range s.kept {
		kept[string(e)] = true
	}
	room := mesh.MaxEndpoints - len(kept)
	var fit [][]byte
	for _, e := range endpoints {
		switch {
		case kept[string(e)]:
			fit = append(fit, e)
		case room > 0:
			fit, room = append(fit, e), room-1
		}
	}
	return fit
}

// accept notes that the service has accepted a publication.
func (s *service) accept(sequence payload.Sequence, endpoints [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence > s.accepted.sequence {
		s.accepted = accepted{sequence, endpoints}
	}
}
