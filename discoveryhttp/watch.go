package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// silentAfter is how long a service that has accepted Watch may send nothing before that is
	// a condition.
	silentAfter = 15 * time.Second
	// snapshotTimeout bounds the time to each part of the snapshot. A part of 3 MiB comes in
	// time at 400 kbit/s.
	snapshotTimeout = time.Minute
	// longestSnapshot bounds the time to the last part.
	longestSnapshot = 20 * time.Minute
	// quietTime is how long a watch may be without news. A proxy may hold a stream open whose
	// other end is gone. The snapshot of another watch has what was missed.
	quietTime = refreshInterval
)

var (
	// errStreamEnded is the error of a watch that the service has ended without one.
	errStreamEnded = errors.New("the service ended the stream")
	// errSilent is the error of a watch that the service has accepted and left without an answer.
	errSilent = fmt.Errorf("the service accepted the watch and did not send its affiliates within %v", snapshotTimeout)
	// errQuiet ends a watch that had no news for quietTime.
	errQuiet = fmt.Errorf("no news for about %v", quietTime)
)

// watchLoop follows the service until ctx ends.
func (s *service) watchLoop(ctx context.Context) {
	pauses := retry.New(firstPause, maxPause)
	var failures outage
	quiet := false
	for {
		started := time.Now()
		usedGRPC := s.dialer.usesGRPC()
		err := s.watch(ctx, func() {
			if !quiet {
				s.client.log.Info("discovery connected", "endpoint", s.endpoint, "protocol", s.current().protocol())
				s.joinSoon() // the relay may have started again, too
			}
			failures.resolved()
			s.note(func(now time.Time, h *works) {
				if h.connectedSince.IsZero() {
					h.connectedSince = now
				}
				h.watch, h.silentAt, h.heard = trouble{}, time.Time{}, now
			})
		})
		s.mu.Lock()
		s.confirm(time.Now())
		s.membership.disconnect(time.Now())
		s.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if quiet = errors.Is(err, errQuiet); quiet {
			s.client.log.Debug("watching discovery anew", "endpoint", s.endpoint, "reason", err)
			continue
		}
		if time.Since(started) > maxPause {
			pauses.Reset()
		}
		wait := pauses.Next()
		s.note(func(now time.Time, h *works) {
			h.fail(now, &h.watch, err)
			h.connectedSince, h.nextTry = time.Time{}, now.Add(wait)
			if errors.Is(err, errSilent) {
				h.silentAt = now
			}
		})
		if usedGRPC && !s.dialer.usesGRPC() && mayNeedOtherProtocol(err) && failures.begin() {
			s.client.log.Info("discovery does not answer by gRPC; trying Connect", "endpoint", s.endpoint, "error", err)
		} else {
			s.client.log.Log(ctx, failures.level(), "discovery unreachable", "endpoint", s.endpoint, "error", err, "retry_in", roundPause(wait))
		}
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// watch follows the service until the stream ends, which is always an error. It calls
// connected when the service has sent all its affiliates.
func (s *service) watch(ctx context.Context, connected func()) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages := make(chan *message)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.receive(groupCtx, messages) })
	group.Go(func() error { return s.verifyDeletions(groupCtx) })
	err := s.follow(groupCtx, messages, connected)
	cancel()
	if ended := group.Wait(); err == nil {
		err = ended
	}
	if errors.Is(err, errSilent) {
		// A proxy on the path may hold back the streams of one protocol.
		s.dialer.alternate()
	}
	return err
}

// receive passes on the messages of a watch until it ends, which is always an error.
func (s *service) receive(ctx context.Context, messages chan<- *message) error {
	ctx, status := withStatus(ctx)
	stream, err := s.current().watch.CallServerStream(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return callError(err, status)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		s.noteHeard()
		select {
		case messages <- stream.Msg():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := stream.Err(); err != nil {
		return callError(err, status)
	}
	return errStreamEnded
}

// follow takes the messages of a watch. It returns nil when ctx ends.
func (s *service) follow(ctx context.Context, messages <-chan *message, connected func()) error {
	if err := s.takeSnapshot(ctx, messages); err != nil || ctx.Err() != nil {
		return err
	}
	connected()
	// The service may have been restarted and not know this machine.
	s.publishSoon()
	expiry := time.NewTicker(deletionGrace / 2)
	defer expiry.Stop()
	// Not all machines of a cluster watch anew at once.
	patience := quietTime + rand.N(quietTime/10)
	quiet := time.NewTimer(patience)
	defer quiet.Stop()
	for {
		var changed bool
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			return errQuiet
		case m := <-messages:
			quiet.Reset(patience)
			changed = s.handle(m)
		case now := <-expiry.C:
			changed = s.expire(now)
		}
		if changed {
			s.client.changed()
		}
	}
}

// takeSnapshot takes the first messages of a watch, up to the last part of the snapshot. It
// returns nil when ctx ends.
func (s *service) takeSnapshot(ctx context.Context, messages <-chan *message) error {
	begun := time.Now()
	silence := time.AfterFunc(silentAfter, s.noteSilence)
	defer silence.Stop()
	timeout := time.NewTimer(snapshotTimeout)
	defer timeout.Stop()
	s.beginSnapshot()
	for range maxParts {
		select {
		case <-ctx.Done():
			return nil
		case <-timeout.C:
			return errSilent
		case m := <-messages:
			s.takePart(m.affiliates)
			if !m.more {
				s.completeSnapshot()
				return nil
			}
			if time.Since(begun) >= longestSnapshot {
				return errEndless
			}
			if time.Since(begun) >= silentAfter {
				s.noteSilence()
			}
			timeout.Reset(snapshotTimeout)
		}
	}
	return errTooManyParts
}

var (
	errTooManyParts = refuse("the service sends its affiliates in more than %d parts", maxParts)
	errEndless      = refuse("the service has not sent all its affiliates within %v", longestSnapshot)
)

// noteSilence notes that the service has not sent all its affiliates for silentAfter.
func (s *service) noteSilence() {
	s.note(func(now time.Time, h *works) {
		if !s.membership.connected {
			h.silentAt = now
		}
	})
}

// beginSnapshot begins to take all affiliates that the service has.
func (s *service) beginSnapshot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = 0
	s.membership.begin()
}

// takePart takes a part of the snapshot.
func (s *service) takePart(part []sealed) {
	now := time.Now()
	o := s.open(now, part, false)
	changed := s.setAll(now, o.affiliates)
	if s.forgetLeft(o.left) || changed {
		s.client.changed()
	}
}

// completeSnapshot notes that all parts were taken.
func (s *service) completeSnapshot() {
	s.mu.Lock()
	if !s.hasAnswered() {
		close(s.answered)
	}
	s.pruneRefused()
	s.membership.complete(time.Now())
	s.mu.Unlock()
	s.client.changed()
}

// setAll adds or updates affiliates that the service has.
func (s *service) setAll(now time.Time, affiliates []published) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range affiliates {
		changed = s.membership.set(now, a) || changed
	}
	return changed
}

// handle takes a message of the stream after the snapshot.
func (s *service) handle(m *message) (changed bool) {
	now := time.Now()
	if m.deleted {
		return s.handleDeletion(now, m.affiliates)
	}
	o := s.open(now, m.affiliates, true)
	changed = s.setAll(now, o.affiliates)
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
		if a.id == s.client.options.NodeID {
			s.shown = 0
			if s.accepted.sequence != 0 {
				s.defend(wasDeleted)
			}
		}
		if sequence, has := s.membership.current(a.id); has {
			s.client.newest.confirm(now, a.id, sequence)
		}
		_, wasRefused := s.refused[a.id]
		delete(s.refused, a.id)
		changed = changed || wasRefused
		if s.membership.delete(now, a.id, grace) {
			s.verifySoon()
		}
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
