package store

import (
	"bytes"
	"slices"
)

// entry is an affiliate with its expiries.
type entry struct {
	// wire is the encoded affiliate; nil for a new entry.
	wire []byte
	// expires is when the data expires, in milliseconds since 1970; 0 without data.
	expires int64
	// endpoints are the expiries of the affiliate's endpoints, in their order, in
	// milliseconds since 1970.
	endpoints []int64
}

func (e *entry) affiliate(id string) Affiliate { return Affiliate{ID: id, wire: e.wire} }

// update merges an update into the entry and reports whether more than expiries
// changed. With an error, nothing changed.
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
		e.wire = NewAffiliate(u.ID, data, endpoints).wire
		changed = true
	}
	e.endpoints = times
	return changed, nil
}

// expireEndpoints removes the endpoints that have expired and reports whether
// there were any. now is in milliseconds since 1970.
func (e *entry) expireEndpoints(id string, now int64) bool {
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
	e.wire, e.endpoints = NewAffiliate(id, data, kept).wire, times
	return true
}

// isExpired reports whether the affiliate has expired: its data has, even if other
// machines have added endpoints, or it has neither data nor endpoints. now is in
// milliseconds since 1970.
func (e *entry) isExpired(now int64) bool {
	if e.expires != 0 {
		return e.expires <= now
	}
	return len(e.endpoints) == 0
}
