package discoveryhttp

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

// opened is what open makes of affiliates of a service.
type opened struct {
	affiliates []published
	// left are the machines that have left the mesh.
	left []string
}

// open decrypts affiliates. It leaves out those that cannot be used, and keeps the reasons
// in refused. News is set for changes, as opposed to what a service had before.
func (s *service) open(now time.Time, all []sealed, news bool) (o opened) {
	o.affiliates = make([]published, 0, len(all))
	for _, one := range all {
		id := one.id
		if id == s.client.options.NodeID {
			s.handleOwn(now, one, news)
			continue
		}
		if one.fault != nil {
			s.refuse(now, id, one.fault)
			continue
		}
		if len(one.data) == 0 {
			continue // only harvested endpoints are known
		}
		a, stamp, err := s.openAffiliate(now, one)
		if err == nil {
			err = s.checkNewest(now, id, stamp.Sequence)
		}
		s.refuse(now, id, err)
		switch {
		case err != nil:
		case stamp.Left:
			o.left = append(o.left, id)
		default:
			s.openEndpoints(&a, one.endpoints)
			o.affiliates = append(o.affiliates, published{&a, stamp.Sequence})
		}
	}
	return o
}

// maxAhead is how far the number of a publication may be ahead of this machine's clock. A
// clock that is wrong may be years ahead. A member that publishes the largest number of all
// under another machine's node ID would leave that machine none to follow it.
const maxAhead = 200 * 365 * 24 * time.Hour

// openAffiliate decrypts an affiliate.
func (s *service) openAffiliate(now time.Time, one sealed) (mesh.Affiliate, payload.Stamp, error) {
	a, stamp, err := s.client.cipher.OpenAffiliate(one.id, one.data)
	if err == nil && stamp.Sequence > payload.SequenceAt(now.Add(maxAhead)) {
		err = fmt.Errorf("has the sequence %d, which is more than 200 years ahead of this machine's clock", stamp.Sequence)
	}
	return a, stamp, err
}

// openEndpoints adds the endpoints that can be decrypted to an affiliate.
func (s *service) openEndpoints(a *mesh.Affiliate, sealed [][]byte) {
	a.KubeSpan.Endpoints = append(a.KubeSpan.Endpoints, s.openAll(sealed)...)
}

// openAll returns the endpoints that can be decrypted.
func (s *service) openAll(sealed [][]byte) (open []netip.AddrPort) {
	for _, raw := range sealed {
		if e, err := s.client.cipher.OpenEndpoint(raw); err == nil {
			open = append(open, e)
		}
	}
	return open
}

// checkNewest returns an error for an older copy of an affiliate. The newest one is kept
// for as long as that of a machine that the service has lost.
func (s *service) checkNewest(now time.Time, id string, sequence payload.Sequence) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, has := s.membership.current(id); has {
		s.client.newest.confirm(now, id, before)
	}
	err := s.client.newest.check(now, id, sequence)
	if err != nil {
		s.membership.replaced(now, id)
	}
	return err
}

// maxRefused bounds refused, which anyone who can publish could fill.
const maxRefused = 1024

// refusalShown is how long an older copy of an affiliate is reported: the machine replaces
// it within moments.
const refusalShown = 10 * time.Second

// refusal is why an affiliate is not used.
type refusal struct {
	reason string
	// showUntil keeps the refusal of an older copy after the machine has replaced it.
	showUntil time.Time
	// sealed is set where the cluster secret does not open it.
	sealed bool
	// round is that of the last snapshot in which the service had the affiliate, or after
	// which it sent it.
	round uint64
}

// refuse sets the reason why an affiliate cannot be used; nil if it can.
func (s *service) refuse(now time.Time, id string, err error) {
	s.mu.Lock()
	before, known := s.refused[id]
	changed := err != nil && before.reason != err.Error() && (known || len(s.refused) < maxRefused)
	switch {
	case err == nil && !before.showUntil.After(now):
		delete(s.refused, id)
	case known && !changed:
		before.round = s.membership.round
		s.refused[id] = before
	case changed:
		r := refusal{reason: err.Error(), sealed: errors.Is(err, payload.ErrSealed), round: s.membership.round}
		if _, older := errors.AsType[*olderError](err); older {
			r.showUntil = now.Add(refusalShown)
		}
		s.refused[id] = r
	}
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}

// pruneRefused forgets refused affiliates that the last snapshot did not have. s.mu is held.
func (s *service) pruneRefused() {
	maps.DeleteFunc(s.refused, func(_ string, r refusal) bool { return r.round != s.membership.round })
}
