package discoveryhttp

import (
	"bytes"
	"crypto/rand"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// defenceInterval and defenceBurst bound how often this machine publishes itself again
	// because its affiliate was deleted or replaced. Two machines with one identity must not
	// flood a service.
	defenceInterval = 30 * time.Second
	defenceBurst    = 5
	// rivalAge is how long a machine with the same identity is reported after it last
	// published itself. Each of the two answers the other once in defenceInterval.
	rivalAge = 4 * defenceInterval
	// showTime is how long the stream may take to show what the service has accepted.
	showTime = 2 * time.Second
	// clockStep is by how much the clock has to be set forward for a new number.
	clockStep = time.Second
	// maxRivals bounds the machines with the same identity that are remembered.
	maxRivals = 8
)

// newDefence returns the limit of one service.
func newDefence() *rate.Limiter { return rate.NewLimiter(rate.Every(defenceInterval), defenceBurst) }

// numbering numbers this machine's publications and notices those of other machines with
// its identity. It is plain data with the time passed in.
type numbering struct {
	instance payload.Instance
	// last is the largest sequence that was published under this machine's node ID, by it
	// or by another.
	last payload.Sequence
	// rivals are the other machines with this identity.
	rivals map[payload.Instance]rival
}

// rival is another machine that publishes itself under this machine's node ID.
type rival struct {
	hostname  string
	addresses []netip.Addr
	lastSeen  time.Time
}

// newNumbering continues after the last sequence of an earlier process.
func newNumbering(last payload.Sequence) numbering {
	n := numbering{last: last, rivals: map[payload.Instance]rival{}}
	_, _ = rand.Read(n.instance[:]) // it never returns an error
	return n
}

// next returns the stamp of a publication that is made now.
func (n *numbering) next(now time.Time) payload.Stamp {
	n.last = n.last.Next(now)
	return payload.Stamp{Sequence: n.last, Instance: n.instance}
}

// learn notes a sequence that was published under this machine's node ID, and reports
// whether it is larger than all before.
func (n *numbering) learn(s payload.Sequence) bool {
	larger := s > n.last
	n.last = max(n.last, s)
	return larger
}

// noteRival notes a publication of another machine with this identity.
func (n *numbering) noteRival(now time.Time, a mesh.Affiliate, instance payload.Instance) {
	if _, known := n.rivals[instance]; known || len(n.rivals) < maxRivals {
		n.rivals[instance] = rival{a.Hostname, a.Addresses, now}
	}
}

// expireRivals drops the rivals that have not published themselves for rivalAge, and reports
// whether there were any.
func (n *numbering) expireRivals(now time.Time) bool {
	before := len(n.rivals)
	maps.DeleteFunc(n.rivals, func(_ payload.Instance, r rival) bool { return now.Sub(r.lastSeen) >= rivalAge })
	return len(n.rivals) < before
}

// accepted is the last publication that a service has accepted; the zero value is none.
type accepted struct {
	sequence  payload.Sequence
	endpoints [][]byte
}

// has reports whether an affiliate of the service still has all endpoints, or no room for
// them.
func (a accepted) has(endpoints [][]byte) bool {
	if len(endpoints) >= mesh.MaxEndpoints {
		return true
	}
	return !slices.ContainsFunc(a.endpoints, func(e []byte) bool {
		return !slices.ContainsFunc(endpoints, func(other []byte) bool { return bytes.Equal(e, other) })
	})
}

// The reasons for which this machine publishes itself again.
const (
	wasDeleted   = "deleted"
	wasReplaced  = "replaced"
	lostEndpoint = "endpoint removed"
)

// handleOwn compares this machine's affiliate at the service with what was published, and
// has it published again if it differs. News is set if the affiliate has just changed;
// otherwise it may be old.
func (s *service) handleOwn(now time.Time, found sealed, news bool) {
	a, stamp, err := s.openAffiliate(now, found)
	made := err == nil && s.client.made(stamp)
	listed := s.openAll(found.endpoints[:min(len(found.endpoints), mesh.MaxEndpoints)])
	s.mu.Lock()
	last := s.accepted
	if s.shown = 0; made {
		s.shown = stamp.Sequence
	}
	seenElsewhere := !slices.Equal(s.listed, listed)
	s.kept, s.listed = found.endpoints, listed
	s.mu.Unlock()
	if seenElsewhere {
		s.client.changed()
	}
	switch {
	case made && stamp.Sequence >= last.sequence:
		if stamp.Sequence == last.sequence && !last.has(found.endpoints) {
			s.defend(lostEndpoint)
		}
	case err == nil && s.client.noteOther(now, a, stamp, news && last.sequence != 0), last.sequence != 0:
		s.defend(wasReplaced)
	}
}

// checkShown has this machine published again if the stream shows something else than what
// the service has accepted. An older copy that was put back before the service's answer was
// here could not be told from the publication before.
func (s *service) checkShown() {
	s.mu.Lock()
	differs := s.membership.connected && s.shown != s.accepted.sequence
	s.mu.Unlock()
	if differs {
		s.defend(wasReplaced)
	}
}

// made reports whether this client made a publication.
func (c *Client) made(stamp payload.Stamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return stamp.Instance == c.own.instance && stamp.Sequence <= c.own.last
}

// noteOther notes a publication under this machine's node ID that is not this client's last
// one. It reports whether that is newer than what this client publishes. News is set if it was
// published after this client published.
//
// Only a running machine publishes what is newer than all that was published before. An
// earlier process of this machine, a copy that is put back, and a service that is behind do
// not.
func (c *Client) noteOther(now time.Time, a mesh.Affiliate, stamp payload.Stamp, news bool) (newer bool) {
	c.mu.Lock()
	newer = c.own.learn(stamp.Sequence) && c.wanted != nil && c.wanted.sealed != nil
	isRival := newer && news && !stamp.Left
	if isRival {
		c.own.noteRival(now, a, stamp.Instance)
	}
	c.mu.Unlock()
	if isRival {
		c.changed()
	}
	return newer
}

// defend makes publishLoop publish this machine again, within the limit.
func (s *service) defend(reason string) {
	select {
	case s.contested <- reason:
	default:
	}
}

// renew makes the next publication another one, with a larger sequence, and publishes it in
// all services but one; nil for all.
func (c *Client) renew(but *service) {
	c.mu.Lock()
	if c.wanted != nil {
		c.wanted = &publication{Publication: c.wanted.Publication}
	}
	c.mu.Unlock()
	for _, s := range c.services {
		if s != but {
			s.publishSoon()
		}
	}
}

// expireRivals forgets the machines with this identity that have ended.
func (c *Client) expireRivals(now time.Time) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own.expireRivals(now)
}
