package store

import (
	"bytes"
	"slices"
)

// entry is an affiliate with its expiries, in milliseconds since 1970.
type entry struct {
	wire    []byte
	expires int64
	// endpoints are the expiries of the affiliate's endpoints, in their order.
	endpoints []int64
}

func (e *entry) affiliate(id string) Affiliate { return Affiliate{ID: id, wire: e.wire} }

// update unites an update with the entry, and tells whether that changed more
// than expiries. With an error, nothing was changed.
func (e *entry) update(u Update, maxEndpoints int) (changed bool, err error) {
	expires := u.Now.Add(u.TTL).UnixMilli()
	data, endpoints := Affiliate{wire: e.wire}.Parts()
	times := slices.Clone(e.endpoints)
	for _, endpoint := range u.Endpoints {
		i := slices.IndexFunc(endpoints, func(known []byte) bool { return bytes.Equal(known, endpoint) })
		if i >= 0 {
			times[i] = max(times[i], expires)
			continue
		}
		endpoints, times = append(endpoints, endpoint), append(times, expires)
		changed = true
	}
	if maxEndpoints > 0 && len(endpoints) > maxEndpoints {
		return false, ErrTooManyEndpoints
	}
	if u.Data != nil {
		changed = changed || data == nil || !bytes.Equal(data, u.Data)
		data = u.Data
		e.expires = max(e.expires, expires)
	}
	if changed || e.wire == nil {
		e.wire = newAffiliate(u.ID, data, endpoints).wire
		changed = true
	}
	e.endpoints = times
	return changed, nil
}

// expire drops the endpoints that nobody refreshed, and tells whether any went.
func (e *entry) expire(id string, now int64) bool {
	if !slices.ContainsFunc(e.endpoints, func(t int64) bool { return t <= now }) {
		return false
	}
	data, endpoints := e.affiliate(id).Parts()
	var kept [][]byte
	var times []int64
	for i, t := range e.endpoints {
		if t > now {
			kept, times = append(kept, endpoints[i]), append(times, t)
		}
	}
	e.wire, e.endpoints = newAffiliate(id, data, kept).wire, times
	return true
}

// isOver tells an affiliate whose data nobody refreshed, whatever endpoints
// others have added, and one that has neither.
func (e *entry) isOver(now int64) bool {
	if e.expires != 0 {
		return e.expires <= now
	}
	return len(e.endpoints) == 0
}
