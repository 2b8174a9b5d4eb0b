package store

import (
	"bytes"
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// entry is an affiliate with its expiries. It is immutable, but for number.
type entry struct {
	// wire is the encoded affiliate.
	wire []byte
	// life is the affiliate's: that of its data if it has any.
	life life
	// lives are those of the affiliate's endpoints, in their order.
	lives []life
	// caller is charged for the affiliate; nil for nobody.
	caller *caller
	// number is that of the affiliate's last record in the file of a Bolt.
	number uint64
}

// life is when an affiliate or an endpoint expires, in milliseconds of the store's time, times
// two; plus 1 if it is the affiliate's own: if it has data, or the endpoint came with data.
type life int64

func newLife(expires int64, own bool) life {
	if own {
		return life(expires<<1 | 1)
	}
	return life(expires << 1)
}

func (l life) expires() int64 { return int64(l >> 1) }
func (l life) own() bool      { return l&1 != 0 }

// extended returns the longer of two lives, which is own if one of them is.
func (l life) extended(by life) life {
	return newLife(max(l.expires(), by.expires()), l.own() || by.own())
}

// entryOverhead is about what an entry takes besides its encoding and ID, in bytes, with its
// place in a snapshot.
const entryOverhead = 256

// cost returns the bytes that an entry is charged with.
func (e *entry) cost() int64 {
	if e == nil {
		return 0
	}
	return int64(len(e.wire)+e.idSize()+8*len(e.lives)) + entryOverhead
}

// idSize returns the size of the ID, which comes first in the encoding, in bytes.
func (e *entry) idSize() int {
	_, _, tag := protowire.ConsumeTag(e.wire)
	if tag < 0 {
		return 0
	}
	id, _ := protowire.ConsumeBytes(e.wire[tag:])
	return len(id)
}

func (e *entry) affiliate(id string) Affiliate { return Affiliate{ID: id, wire: e.wire} }

// hasData reports whether the affiliate itself has published.
func (e *entry) hasData() bool { return e.life.own() }

// endpoint is one of an affiliate while an update is merged.
type endpoint struct {
	wire []byte
	life life
	// updated is set if it is in the update.
	updated bool
}

// updated returns the entry after an update. e may be nil. The error is ErrTooManyEndpoints
// if not all endpoints fit; the entry has those that do. now is that of the update, in
// milliseconds of the store's time.
func (e *entry) updated(u Update, now int64, maxEndpoints int) (*entry, error) {
	before := entry{}
	if e != nil {
		before = *e
	}
	own := u.Data != nil
	fresh := newLife(now+u.TTL.Milliseconds(), own)
	data, known := Affiliate{wire: before.wire}.Parts()
	merged := make([]endpoint, len(known), len(known)+len(u.Endpoints))
	for i, wire := range known {
		merged[i] = endpoint{wire: wire, life: before.lives[i]}
	}
	changed := e == nil
	for _, wire := range u.Endpoints {
		i := slices.IndexFunc(merged, func(known endpoint) bool { return bytes.Equal(known.wire, wire) })
		if i < 0 {
			i = len(merged)
			merged = append(merged, endpoint{wire: wire})
			changed = true
		}
		merged[i].life, merged[i].updated = merged[i].life.extended(fresh), true
	}
	merged, err := fit(merged, maxEndpoints, own)
	next := &entry{wire: before.wire, life: before.life, caller: before.caller}
	if own {
		changed = changed || !before.hasData() || !bytes.Equal(data, u.Data)
		data = u.Data
	}
	switch {
	case own:
		next.life = fresh
	case !before.hasData():
		next.life = before.life.extended(fresh)
	}
	next.lives = make([]life, len(merged))
	for i, m := range merged {
		next.lives[i] = m.life
	}
	if changed {
		endpoints := known[:0]
		for _, m := range merged {
			endpoints = append(endpoints, m.wire)
		}
		next.wire = NewAffiliate(u.ID, data, endpoints).wire
	}
	return next, err
}

// fit returns the endpoints that an affiliate keeps, in their order. An update of the
// affiliate itself drops what others have added, then what it had before; an update by
// others drops what is new. The soonest to expire are dropped first.
func fit(all []endpoint, limit int, own bool) ([]endpoint, error) {
	excess := len(all) - limit
	if limit <= 0 || excess <= 0 {
		return all, nil
	}
	if !own {
		return all[:max(limit, 0)], ErrTooManyEndpoints
	}
	old := make([]endpoint, 0, len(all))
	for _, e := range all {
		if !e.updated {
			old = append(old, e)
		}
	}
	slices.SortFunc(old, func(a, b endpoint) int {
		if a.life.own() != b.life.own() {
			if b.life.own() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.life, b.life)
	})
	dropped := old[:min(excess, len(old))]
	all = slices.DeleteFunc(all, func(e endpoint) bool {
		return slices.ContainsFunc(dropped, func(d endpoint) bool { return bytes.Equal(d.wire, e.wire) })
	})
	if len(all) > limit {
		return all[:limit], ErrTooManyEndpoints
	}
	return all, nil
}

// due returns when something of the entry expires first, in milliseconds of the store's
// time.
func (e *entry) due() int64 {
	due := e.life.expires()
	for _, l := range e.lives {
		due = min(due, l.expires())
	}
	return due
}

// remaining returns the entry without the endpoints that have expired. It is nil if the
// affiliate has, even if other machines have added endpoints to it.
func (e *entry) remaining(id string, now int64) *entry {
	if e.life.expires() <= now {
		return nil
	}
	data, endpoints := e.affiliate(id).Parts()
	next := &entry{life: e.life, caller: e.caller}
	var kept [][]byte
	for i, l := range e.lives {
		if l.expires() > now {
			kept, next.lives = append(kept, endpoints[i]), append(next.lives, l)
		}
	}
	next.wire = NewAffiliate(id, data, kept).wire
	return next
}
