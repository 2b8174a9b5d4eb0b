package discoveryhttp

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// TTL is how long an affiliate lives without a refresh, refreshInterval how
	// often it is refreshed.
	TTL             = 30 * time.Minute
	refreshInterval = TTL / 2
	// comeback is how long machines have to publish themselves again after a
	// service was away: longer than the longest pause between their tries.
	comeback = 2 * maxPause
)

// Remembered is an affiliate with the time at which a service last had it.
type Remembered struct {
	Affiliate mesh.Affiliate `json:"affiliate"`
	LastSeen  time.Time      `json:"lastSeen"`
}

// roster is what is known of the other machines of a cluster. It is plain data
// with the time passed in, for one goroutine at a time.
type roster struct {
	entries   map[string]*rosterEntry
	connected bool
}

type rosterEntry struct {
	affiliate mesh.Affiliate
	lastSeen  time.Time
	// keepUntil is set while the service does not have the affiliate.
	keepUntil time.Time
}

// newRoster begins with what was known before.
func newRoster(before []Remembered) *roster {
	r := &roster{entries: map[string]*rosterEntry{}}
	for _, m := range before {
		r.entries[m.Affiliate.NodeID] = &rosterEntry{affiliate: m.Affiliate, lastSeen: m.LastSeen}
	}
	return r
}

// snapshot takes all that the service has, as a watch begins.
func (r *roster) snapshot(now time.Time, affiliates []mesh.Affiliate) (changed bool) {
	r.connected = true
	present := make(map[string]bool, len(affiliates))
	for _, a := range affiliates {
		present[a.NodeID] = true
		changed = r.set(now, a) || changed
	}
	for id, e := range r.entries {
		if !present[id] && e.keepUntil.IsZero() {
			e.keepUntil = e.lastSeen.Add(TTL)
			if soonest := now.Add(comeback); e.keepUntil.Before(soonest) {
				e.keepUntil = soonest
			}
		}
	}
	return changed
}

// set takes one affiliate that the service has.
func (r *roster) set(now time.Time, a mesh.Affiliate) (changed bool) {
	before, known := r.entries[a.NodeID]
	r.entries[a.NodeID] = &rosterEntry{affiliate: a, lastSeen: now}
	return !known || !reflect.DeepEqual(before.affiliate, a)
}

// remove forgets an affiliate that was deleted.
func (r *roster) remove(id string) (changed bool) {
	_, known := r.entries[id]
	delete(r.entries, id)
	return known
}

// disconnect notes that the watch broke.
func (r *roster) disconnect(now time.Time) {
	if r.connected {
		r.confirm(now)
	}
	r.connected = false
}

// confirm notes that the service has had, until now, all that it did not delete.
func (r *roster) confirm(now time.Time) {
	for _, e := range r.entries {
		if e.keepUntil.IsZero() {
			e.lastSeen = now
		}
	}
}

// expire forgets who did not come back in time.
func (r *roster) expire(now time.Time) (changed bool) {
	for id, e := range r.entries {
		if !e.keepUntil.IsZero() && !e.keepUntil.After(now) {
			delete(r.entries, id)
			changed = true
		}
	}
	return changed
}

// remembered lists the entries by node ID.
func (r *roster) remembered(now time.Time) []Remembered {
	if r.connected {
		r.confirm(now)
	}
	list := make([]Remembered, 0, len(r.entries))
	for _, e := range r.entries {
		list = append(list, Remembered{Affiliate: e.affiliate, LastSeen: e.lastSeen})
	}
	slices.SortFunc(list, func(a, b Remembered) int { return cmp.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID) })
	return list
}

func (r *roster) affiliates() []mesh.Affiliate {
	list := make([]mesh.Affiliate, 0, len(r.entries))
	for _, id := range slices.Sorted(maps.Keys(r.entries)) {
		list = append(list, r.entries[id].affiliate)
	}
	return list
}
