package discoveryhttp

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// verifyInterval and verifyBurst bound how often the affiliates are listed because of
	// deletions.
	verifyInterval = 30 * time.Second
	verifyBurst    = 3
	// verifyRetry is the shortest pause before the affiliates are listed again after a failure.
	verifyRetry = 5 * time.Second
	// All machines of a cluster see a deletion at once, and list its affiliates. Together they
	// make no more than listsPerSecond lists, with no more than listedPerSecond affiliates in
	// them. 32,768 affiliates are some 16 MiB.
	listsPerSecond  = 100
	listedPerSecond = 32 << 10
	// longestSpread bounds the time for these lists. Until then a machine that was deleted
	// stays a peer. It has been gone for its TTL, and the doubt ends after another one.
	longestSpread = TTL / 3
)

// verifySoon makes verifyDeletions list the affiliates.
func (s *service) verifySoon() {
	select {
	case s.doubted <- struct{}{}:
	default:
	}
}

// verifyDeletions lists the affiliates after deletions, until ctx ends. Sidero's service
// reports that a machine was deleted when one of its endpoints has expired.
func (s *service) verifyDeletions(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Every(verifyInterval), verifyBurst)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.doubted:
		}
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		if err := retry.Wait(ctx, s.verifyPause(), nil); err != nil {
			return err
		}
		if !s.hasDoubts() {
			continue // the machines have left, or are back
		}
		begun := time.Now()
		found, err := s.listDoubtful(ctx)
		switch {
		case err == nil:
			s.verify(begun, found)
		case canList(err):
			s.client.log.Debug("listing failed", "endpoint", s.endpoint, "error", err)
			s.verifySoon()
			if err := retry.Wait(ctx, verifyRetry, nil); err != nil {
				return err
			}
		default:
			s.verifyBlindly(begun)
		}
	}
}

// verifyPause returns how long to wait before the affiliates are listed.
func (s *service) verifyPause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.N(verifySpread(1 + len(s.membership.entries)))
}

// verifySpread returns the time within which the machines of a cluster list its affiliates after
// a deletion. Each lists all of them, so that it grows with the square of their number.
func verifySpread(machines int) time.Duration {
	n := float64(machines)
	seconds := max(n/listsPerSecond, n*n/listedPerSecond)
	return time.Duration(min(seconds, longestSpread.Seconds()) * float64(time.Second))
}

func (s *service) hasDoubts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.membership.hasDoubts()
}

// canList reports whether a service that has answered List with an error may answer it another
// time.
func canList(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnimplemented, connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeInvalidArgument:
		return false
	default:
		return true
	}
}

// listDoubtful lists the affiliates and returns those that the service has deleted as far as is
// known.
func (s *service) listDoubtful(ctx context.Context) (found []sealed, err error) {
	err = s.list(ctx, func(part []sealed) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, one := range part {
			if e, known := s.membership.entries[one.id]; known && e.isDoubtful() && len(one.data) > 0 {
				found = append(found, one)
			}
		}
	})
	return found, err
}

// verify takes the affiliates that the service still had when it began to make a list, of those
// that it has deleted.
func (s *service) verify(begun time.Time, found []sealed) {
	listed := make(map[string]sealed, len(found))
	for _, one := range found {
		listed[one.id] = one
	}
	var restored []sealed
	s.mu.Lock()
	for _, id := range s.membership.verify(begun, func(id string) bool { _, has := listed[id]; return has }) {
		restored = append(restored, listed[id])
	}
	s.mu.Unlock()
	now := time.Now()
	o := s.open(now, restored, false)
	changed := s.setAll(now, o.affiliates)
	changed = s.forgetLeft(o.left) || changed
	if s.expire(now) || changed {
		s.client.changed()
	}
}

// verifyBlindly takes the deletions before a time for what they say: the service lists nothing.
func (s *service) verifyBlindly(begun time.Time) {
	s.mu.Lock()
	s.membership.verify(begun, func(string) bool { return false })
	s.mu.Unlock()
	if s.expire(time.Now()) {
		s.client.changed()
	}
}

// list calls take with all affiliates that the service has, in one or several parts.
func (s *service) list(ctx context.Context, take func(part []sealed)) error {
	err := s.listAtOnce(ctx, take)
	if isTooLong(err) {
		err = s.listByWatch(ctx, take)
	}
	return plainError(err)
}

// listAtOnce is list by List.
func (s *service) listAtOnce(ctx context.Context, take func(part []sealed)) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c := s.current()
	request := connect.NewRequest(&serverpb.ListRequest{ClusterId: s.client.options.ClusterID})
	if !c.grpc {
		response, err := c.list.CallUnary(ctx, request)
		if err == nil {
			take(response.Msg.affiliates)
		}
		return err
	}
	// In gRPC, an answer is a stream of one message. A long one is split.
	stream, err := c.list.CallServerStream(ctx, request)
	if err != nil {
		return err
	}
	return takeParts(stream, take)
}

// listByWatch is list by the snapshot of a watch, which may come in parts.
func (s *service) listByWatch(ctx context.Context, take func(part []sealed)) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	stream, err := s.current().watch.CallServerStream(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return err
	}
	return takeParts(stream, take)
}

// takeParts calls take with the parts of a snapshot.
func takeParts(stream *connect.ServerStreamForClient[message], take func(part []sealed)) error {
	defer func() { _ = stream.Close() }()
	for range maxParts {
		if !stream.Receive() {
			return cmp.Or(stream.Err(), errStreamEnded)
		}
		take(stream.Msg().affiliates)
		if !stream.Msg().more {
			return nil
		}
	}
	return errTooManyParts
}

// isTooLong reports whether the affiliates of a cluster may be too many for the answer to List.
func isTooLong(err error) bool {
	if err == nil {
		return false
	}
	if refused, is := errors.AsType[*refusedError](err); is {
		return refused.tooLong
	}
	code := connect.CodeOf(err)
	return code == connect.CodeResourceExhausted || code == connect.CodeOutOfRange || code == connect.CodeFailedPrecondition
}
