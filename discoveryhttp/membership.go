package discoveryhttp

import (
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"

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
)

// cachedAffiliate is an affiliate as it is kept between processes.
type cachedAffiliate struct {
	Affiliate mesh.Affiliate `json:"affiliate"`
	// LastSeen is when a service had the affiliate last.
	LastSeen time.Time `json:"lastSeen"`
}

func compareCached(a, b cachedAffiliate) int {
	return cmp.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID)
}

// decodeCache is the inverse of Client.Cache.
func decodeCache(data []byte) (cached []cachedAffiliate, err error) {
	if data == nil {
		return nil, nil
	}
	if err := json.Unmarshal(data, &cached); err != nil {
		return nil, err
	}
	return cached, nil
}

// membership is what one service knows about the other machines of a cluster. It is plain
// data with the time passed in, for one goroutine at a time.
type membership struct {
	entries map[string]*membershipEntry
	// connected is set while the watch is up.
	connected bool
}

// membershipEntry is one machine.
type membershipEntry struct {
	affiliate mesh.Affiliate
	lastSeen  time.Time
	// keepUntil is set while the service does not have the affiliate.
	keepUntil time.Time
}

// newMembership starts with what was known before.
func newMembership(cached []cachedAffiliate) *membership {
	m := &membership{entries: map[string]*membershipEntry{}}
	for _, c := range cached {
		m.entries[c.Affiliate.NodeID] = &membershipEntry{affiliate: c.Affiliate, lastSeen: c.LastSeen}
	}
	return m
}

// snapshot replaces what is known by all that the service has, as a watch starts. What the
// service does not have is kept for the rest of its TTL, and at least for returnTime.
func (m *membership) snapshot(now time.Time, affiliates []mesh.Affiliate) (changed bool) {
	m.connected = true
	present := make(map[string]bool, len(affiliates))
	for _, a := range affiliates {
		present[a.NodeID] = true
		changed = m.set(now, a) || changed
	}
	for id, e := range m.entries {
		if !present[id] && e.keepUntil.IsZero() {
			e.keepUntil = e.lastSeen.Add(TTL)
			if soonest := now.Add(returnTime); e.keepUntil.Before(soonest) {
				e.keepUntil = soonest
			}
		}
	}
	return changed
}

// set adds or updates an affiliate that the service has.
func (m *membership) set(now time.Time, a mesh.Affiliate) (changed bool) {
	before, known := m.entries[a.NodeID]
	m.entries[a.NodeID] = &membershipEntry{affiliate: a, lastSeen: now}
	return !known || !reflect.DeepEqual(before.affiliate, a)
}

// remove forgets an affiliate that was deleted.
func (m *membership) remove(id string) (changed bool) {
	_, known := m.entries[id]
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
// time.
func (m *membership) expire(now time.Time) (changed bool) {
	for id, e := range m.entries {
		if !e.keepUntil.IsZero() && !e.keepUntil.After(now) {
			delete(m.entries, id)
			changed = true
		}
	}
	return changed
}

// cached returns the entries for the cache, sorted by node ID.
func (m *membership) cached(now time.Time) []cachedAffiliate {
	if m.connected {
		m.confirm(now)
	}
	list := make([]cachedAffiliate, 0, len(m.entries))
	for _, e := range m.entries {
		list = append(list, cachedAffiliate{Affiliate: e.affiliate, LastSeen: e.lastSeen})
	}
	slices.SortFunc(list, compareCached)
	return list
}

// affiliates returns the machines, sorted by node ID.
func (m *membership) affiliates() []mesh.Affiliate {
	list := make([]mesh.Affiliate, 0, len(m.entries))
	for _, id := range slices.Sorted(maps.Keys(m.entries)) {
		list = append(list, m.entries[id].affiliate)
	}
	return list
}
