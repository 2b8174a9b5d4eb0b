package discoveryhttp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// TTL is how long an affiliate lives at a service without an update.
	TTL = 30 * time.Minute
	// refreshInterval is the time between two updates without a change.
	refreshInterval = TTL / 2
	// returnTime is how long machines have to publish themselves again after a service was
	// away. It is longer than the longest pause between their tries.
	returnTime = 2 * maxPause
	// deletionGrace is how long a machine is kept after a service has deleted it. A machine
	// that is alive publishes itself again at once, and one that leaves says so.
	deletionGrace = 5 * time.Second
)

// published is an affiliate with its number.
type published struct {
	*mesh.Affiliate
	sequence payload.Sequence
}

// cacheContent is what one process knew, for the next one.
type cacheContent struct {
	Affiliates []cachedAffiliate `json:"affiliates"`
	cacheRest
}

// cacheRest is what a cache has beside the affiliates.
type cacheRest struct {
	// Newest has the newest publication of each machine, by node ID.
	Newest map[string]ledgerEntry `json:"newest,omitempty"`
	// Sequence is the last under this machine's node ID.
	Sequence payload.Sequence `json:"sequence,omitempty"`
	// Relays are those of the services, by URL.
	Relays map[string]mesh.BlindRelay `json:"relays,omitempty"`
}

// cachedAffiliate is an affiliate as it is kept between processes.
type cachedAffiliate struct {
	Affiliate *mesh.Affiliate  `json:"affiliate"`
	Sequence  payload.Sequence `json:"sequence,omitempty"`
	// LastSeen is when a service had the affiliate last.
	LastSeen time.Time `json:"lastSeen"`
}

func compareCached(a, b cachedAffiliate) int {
	return cmp.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID)
}

// cachedSize is about what an affiliate takes in a cache, in bytes.
const cachedSize = 768

// encodeCache returns the JSON of a cacheContent. Each affiliate is encoded on its own, since package json keeps
// the memory of what it has encoded, and that of thousands is megabytes.
func encodeCache(affiliates []cachedAffiliate, rest cacheRest) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(affiliates) * cachedSize)
	encoder := json.NewEncoder(&out)
	_, _ = out.WriteString(`{"affiliates":[`)
	for i := range affiliates {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		if err := encoder.Encode(&affiliates[i]); err != nil {
			return nil, err
		}
	}
	_ = out.WriteByte(']')
	text, err := json.Marshal(rest)
	if err != nil {
		return nil, err
	}
	if fields := text[len("{"):]; len(fields) > len("}") {
		_ = out.WriteByte(',')
	}
	_, _ = out.Write(text[len("{"):])
	return out.Bytes(), nil
}

// decodeCache is the inverse of Client.Cache.
func decodeCache(data []byte) (cached cacheContent, err error) {
	if data == nil {
		return cached, nil
	}
	// Earlier versions kept the affiliates alone.
	if json.Unmarshal(data, &cached.Affiliates) != nil {
		cached = cacheContent{}
		if err := json.Unmarshal(data, &cached); err != nil {
			return cacheContent{}, err
		}
	}
	cached.Affiliates = slices.DeleteFunc(cached.Affiliates, func(a cachedAffiliate) bool { return a.Affiliate == nil })
	return cached, nil
}

// membership is what one service knows about the other machines of a cluster. It is plain
// data with the time passed in, for one goroutine at a time.
type membership struct {
	entries map[string]*membershipEntry
	// order are the entries, sorted by node ID.
	order []*membershipEntry
	// connected is set while the watch is up and has sent its snapshot.
	connected bool
	// round counts the snapshots.
	round uint64
}

// membershipEntry is one machine.
type membershipEntry struct {
	published
	lastSeen time.Time
	// round is that of the last snapshot in which the service had the affiliate, or after
	// which it sent it.
	round uint64
	// keepUntil is set while the service does not have the affiliate.
	keepUntil time.Time
	// deletedAt is set after the service has deleted the affiliate.
	deletedAt time.Time
	// confirmed is set when the service still lacked the affiliate later. Sidero's service
	// announces that an affiliate is deleted when only one of its endpoints has expired.
	confirmed bool
}

// isDoubtful reports whether the service has deleted the affiliate, as far as is known.
func (e *membershipEntry) isDoubtful() bool { return !e.deletedAt.IsZero() && !e.confirmed }

// newMembership starts with what was known before.
func newMembership(cached []cachedAffiliate) *membership {
	m := &membership{entries: map[string]*membershipEntry{}}
	for _, c := range cached {
		m.entries[c.Affiliate.NodeID] = &membershipEntry{published: published{c.Affiliate, c.Sequence}, lastSeen: c.LastSeen}
	}
	m.order = slices.SortedFunc(maps.Values(m.entries), func(a, b *membershipEntry) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return m
}

// begin begins a snapshot: all that the service has, as a watch starts.
func (m *membership) begin() { m.round++ }

// complete ends a snapshot, whose affiliates were set. What the service does not have is kept for
// the rest of its TTL, and at least for returnTime.
func (m *membership) complete(now time.Time) {
	m.connected = true
	for _, e := range m.entries {
		if e.round != m.round {
			e.lost(now)
			e.confirmed = true
		}
	}
}

// lost notes that the service does not have the affiliate any more.
func (e *membershipEntry) lost(now time.Time) {
	if !e.keepUntil.IsZero() {
		return
	}
	e.keepUntil = e.lastSeen.Add(TTL)
	if soonest := now.Add(returnTime); e.keepUntil.Before(soonest) {
		e.keepUntil = soonest
	}
}

// replaced notes that the service has an older copy of an affiliate in place of this one.
func (m *membership) replaced(now time.Time, id string) {
	if e, known := m.entries[id]; known {
		if m.connected && e.keepUntil.IsZero() {
			e.lastSeen = now
		}
		e.lost(now)
	}
}

// current returns the sequence of an affiliate that the service has.
func (m *membership) current(id string) (s payload.Sequence, has bool) {
	e, known := m.entries[id]
	if !known || !m.connected || !e.keepUntil.IsZero() {
		return 0, false
	}
	return e.sequence, true
}

// set adds or updates an affiliate that the service has. One that is as before stays the same in memory, where
// others may have it.
func (m *membership) set(now time.Time, a published) (changed bool) {
	before, known := m.entries[a.NodeID]
	if changed = !known || !before.Equal(a.Affiliate); !changed {
		a.Affiliate = before.Affiliate
	}
	e := &membershipEntry{published: a, lastSeen: now, round: m.round}
	m.entries[a.NodeID] = e
	if at, found := m.find(a.NodeID); found {
		m.order[at] = e
	} else {
		m.order = slices.Insert(m.order, at, e)
	}
	return changed
}

// delete notes that the service has deleted an affiliate. It is kept for a while, and until that
// is confirmed. Delete reports whether it is known.
func (m *membership) delete(now time.Time, id string, grace time.Duration) (known bool) {
	e, known := m.entries[id]
	if !known {
		return false
	}
	e.deletedAt, e.confirmed = now, false
	if until := now.Add(grace); e.keepUntil.IsZero() || until.Before(e.keepUntil) {
		e.keepUntil = until
	}
	return true
}

// verify compares deletions with a list that the service began to make at a time: those of
// before hold if the list lacks the affiliate. It returns the affiliates that are back.
func (m *membership) verify(begun time.Time, listed func(id string) bool) (back []string) {
	for id, e := range m.entries {
		switch {
		case !e.isDoubtful() || !e.deletedAt.Before(begun):
		case listed(id):
			back = append(back, id)
		default:
			e.confirmed = true
		}
	}
	return back
}

// hasDoubts reports whether there are deletions that are not confirmed.
func (m *membership) hasDoubts() bool {
	for _, e := range m.entries {
		if e.isDoubtful() {
			return true
		}
	}
	return false
}

// find returns the place of a node ID in the order.
func (m *membership) find(id string) (at int, found bool) {
	return slices.BinarySearchFunc(m.order, id, func(e *membershipEntry, id string) int { return cmp.Compare(e.NodeID, id) })
}

// remove forgets an affiliate.
func (m *membership) remove(id string) (changed bool) {
	_, known := m.entries[id]
	if at, found := m.find(id); found {
		m.order = slices.Delete(m.order, at, at+1)
	}
	delete(m.entries, id)
	return known
}

// disconnect notes that the watch broke.
func (m *membership) disconnect(now time.Time) {
	if m.connected {
		m.confirm(now)
	}
	m.connected = false
}

// confirm notes that the service has had all affiliates until now, except those it lacked.
func (m *membership) confirm(now time.Time) {
	for _, e := range m.entries {
		if e.keepUntil.IsZero() {
			e.lastSeen = now
		}
	}
}

// expire forgets the machines that the service does not have and that did not return in
// time. It returns those that the service has deleted among them.
func (m *membership) expire(now time.Time) (deleted []string, changed bool) {
	for id, e := range m.entries {
		if e.keepUntil.IsZero() || e.keepUntil.After(now) || e.isDoubtful() && now.Before(e.deletedAt.Add(TTL)) {
			continue
		}
		m.remove(id)
		changed = true
		if !e.deletedAt.IsZero() {
			deleted = append(deleted, id)
		}
	}
	return deleted, changed
}

// cached returns the entries for the cache, sorted by node ID.
func (m *membership) cached(now time.Time) []cachedAffiliate {
	if m.connected {
		m.confirm(now)
	}
	list := make([]cachedAffiliate, 0, len(m.entries))
	for _, e := range m.entries {
		list = append(list, cachedAffiliate{Affiliate: e.Affiliate, Sequence: e.sequence, LastSeen: e.lastSeen})
	}
	slices.SortFunc(list, compareCached)
	return list
}

// affiliates returns the machines, sorted by node ID.
func (m *membership) affiliates() []published {
	list := make([]published, 0, len(m.entries))
	for _, e := range m.order {
		list = append(list, e.published)
	}
	return list
}

// newestOf returns the affiliates of each list without those of which another list has a
// newer copy.
func newestOf(lists [][]published) [][]*mesh.Affiliate {
	newest := map[string]payload.Sequence{}
	for _, list := range lists {
		if len(lists) == 1 {
			break // a list has one copy of each
		}
		for i := range list {
			newest[list[i].NodeID] = max(newest[list[i].NodeID], list[i].sequence)
		}
	}
	out := make([][]*mesh.Affiliate, len(lists))
	for i, list := range lists {
		out[i] = make([]*mesh.Affiliate, 0, len(list))
		for j := range list {
			if list[j].sequence >= newest[list[j].NodeID] {
				out[i] = append(out[i], list[j].Affiliate)
			}
		}
	}
	return out
}
