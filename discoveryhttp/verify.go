package discoveryhttp

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
)

// verifyInterval and verifyBurst bound how often the affiliates are listed because of
// deletions.
const (
	verifyInterval = 30 * time.Second
	verifyBurst    = 3
)

// verifySoon makes verifyDeletions list the affiliates.
func (s *service) verifySoon() {
	select {
	case s.doubted <- struct{}{}:
	default:
	}
}

// verifyDeletions lists the affiliates after deletions, until ctx ends. Sidero's service
// reports that a machine was deleted when one of its endpoints has expired. A machine that
// numbers its publications publishes itself again; a Talos node does not notice.
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
		all, err := s.list(ctx)
		if err != nil {
			continue // the deletion holds
		}
		s.restore(all)
	}
}

// restore takes the affiliates that the service still has.
func (s *service) restore(all []sealed) {
	now := time.Now()
	o := s.open(now, all, false)
	changed := false
	s.mu.Lock()
	for _, a := range o.affiliates {
		changed = s.membership.set(now, a) || changed
	}
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}

// list returns all affiliates that the service has.
func (s *service) list(ctx context.Context) ([]sealed, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := s.current().list.CallUnary(ctx, connect.NewRequest(&serverpb.ListRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return nil, err
	}
	return response.Msg.affiliates, nil
}
