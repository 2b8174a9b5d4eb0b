package etcd

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// stored is what etcd has of an affiliate, and of its cluster's pin, at a revision.
type stored struct {
	revision int64
	// data is nil if there is none.
	data      *value
	caller    *value
	endpoints map[string]value
	pin       pin
	pinLease  clientv3.LeaseID
}

// value is the value of a key.
type value struct {
	bytes    []byte
	lease    clientv3.LeaseID
	modified int64
}

// isNew reports whether there is no affiliate.
func (h stored) isNew() bool { return h.data == nil && len(h.endpoints) == 0 }

// cost returns what the affiliate is charged with.
func (h stored) cost(id string) int64 {
	if h.isNew() {
		return 0
	}
	return cost(id, h.data, h.endpoints)
}

// plan is what an update writes. Keys are below the affiliate's prefix.
type plan struct {
	puts []put
	// deletes are keys.
	deletes []string
	// relied are keys that stay as they are, with the revisions that they have.
	relied map[string]int64
	// victim is another affiliate that makes room; empty for none.
	victim string
	// tooMany is set if there was no room for all endpoints.
	tooMany bool
}

type put struct {
	key, value string
	lease      clientv3.LeaseID
}

// newPlan returns what an update of a cluster writes under a lease, or the limit that it exceeds.
// It depends on nothing but its arguments, and does not change them.
func newPlan(have stored, u store.Update, lease clientv3.LeaseID, limits store.Limits, cluster string, t *totals) (plan, error) {
	p := plan{relied: map[string]int64{}}
	data := have.data
	if u.Data != nil {
		data = &value{bytes: u.Data}
		p.writeData(string(u.Data), lease, have.data)
	}
	endpoints := p.mergeEndpoints(have.endpoints, u, lease, limits.Endpoints)
	var err error
	if have.isNew() {
		if p.victim, err = t.victim(cluster, u, limits); err != nil {
			return p, err
		}
	}
	caller, err := t.charged(have, u, cost(u.ID, data, endpoints), limits)
	if err != nil {
		return p, err
	}
	p.charge(have, caller, lease)
	return p, nil
}

// writeData puts the data of an affiliate, unless it is there already under the lease. Its
// life may get shorter.
func (p *plan) writeData(text string, lease clientv3.LeaseID, have *value) {
	if have != nil && string(have.bytes) == text && lease == have.lease {
		p.relied[dataKey] = have.modified
		return
	}
	p.puts = append(p.puts, put{dataKey, text, lease})
}

// write puts a key, unless it is there already and lives as long. A life never gets shorter.
func (p *plan) write(key, text string, lease clientv3.LeaseID, have *value) {
	if have == nil {
		p.puts = append(p.puts, put{key, text, lease})
		return
	}
	if string(have.bytes) == text && lease <= have.lease {
		p.relied[key] = have.modified
		return
	}
	p.puts = append(p.puts, put{key, text, max(lease, have.lease)})
}

// charge notes the caller that an affiliate is charged to.
func (p *plan) charge(have stored, caller callerID, lease clientv3.LeaseID) {
	switch {
	case caller != callerID{}:
		p.write(callerKey, string(caller[:]), lease, have.caller)
	case have.caller != nil:
		p.deletes = append(p.deletes, callerKey)
	}
}

// mergeEndpoints adds the endpoints of an update, as many as there is room for. It returns the
// keys that there are afterwards.
//
// An update with data is the owner's. It makes room: first the endpoints go that came without
// data, then the owner's that are not in this update, those that expire first before others.
func (p *plan) mergeEndpoints(have map[string]value, u store.Update, lease clientv3.LeaseID, limit int) map[string]value {
	left := maps.Clone(have)
	wanted := endpointKeys(u.Endpoints)
	var added []string
	for _, key := range wanted {
		before, known := have[key]
		if !known {
			added = append(added, key)
			continue
		}
		text := string(before.bytes)
		if u.Data != nil {
			text = ownEndpoint
		}
		p.write(key, text, lease, &before)
	}
	if excess := len(left) + len(added) - limit; limit > 0 && excess > 0 {
		if u.Data != nil {
			for _, key := range evictable(have, wanted)[:min(excess, len(have)-(len(wanted)-len(added)))] {
				p.deletes = append(p.deletes, key)
				delete(left, key)
			}
		}
		room := max(limit-len(left), 0)
		p.tooMany = room < len(added)
		added = added[:min(room, len(added))]
	}
	text := ""
	if u.Data != nil {
		text = ownEndpoint
	}
	for _, key := range added {
		p.write(key, text, lease, nil)
		left[key] = value{}
	}
	return left
}

// endpointKeys returns the keys of endpoints, each once.
func endpointKeys(endpoints [][]byte) []string {
	keys := make([]string, 0, len(endpoints))
	seen := make(map[string]bool, len(endpoints))
	for _, endpoint := range endpoints {
		key := endpointKey + hex.EncodeToString(endpoint)
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// evictable returns the endpoints that are not wanted, in the order in which they go.
func evictable(have map[string]value, wanted []string) []string {
	var keys []string
	for key := range have {
		if !slices.Contains(wanted, key) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		x, y := have[a], have[b]
		return cmp.Or(bytes.Compare(x.bytes, y.bytes), cmp.Compare(x.lease, y.lease), cmp.Compare(x.modified, y.modified), cmp.Compare(a, b))
	})
	return keys
}

// An affiliate costs the bytes of its wire encoding, and about what a server needs besides.
const (
	costOfAffiliate = 256
	costOfEndpoint  = 8
)

// cost returns what an affiliate with data, nil for none, and endpoints is charged with.
func cost(id string, data *value, endpoints map[string]value) int64 {
	sum := costOfID(id)
	if data != nil {
		sum += fieldSize(len(data.bytes))
	}
	for key := range endpoints {
		sum += costOf(key)
	}
	return sum
}

func costOfID(id string) int64 { return costOfAffiliate + fieldSize(len(id)) }

// costOf returns what the endpoint of a key costs.
func costOf(key string) int64 {
	return costOfEndpoint + fieldSize(hex.DecodedLen(len(key)-len(endpointKey)))
}
