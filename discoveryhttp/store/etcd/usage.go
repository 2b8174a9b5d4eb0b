package etcd

import (
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// fieldSize returns the size of a field of bytes in a message, whose number is below 16.
func fieldSize(n int) int64 { return int64(1 + protowire.SizeBytes(n)) }

// totals has what all servers have written: the bytes of affiliates by cluster and by caller,
// and the pins. Only one goroutine changes it.
type totals struct {
	clusters   map[string]*clusterTotals
	callers    map[callerID]*callerTotals
	bytes      int64
	affiliates int
	// endpoints counts those of all affiliates.
	endpoints int
	// invitations are the names of those that there are.
	invitations map[string]struct{}
}

// clusterTotals are those of one cluster.
type clusterTotals struct {
	pin     pin
	entries map[string]*entry
	// affiliates counts the entries that are alive.
	affiliates int
	// oldest is the affiliate that was created first, and creator its caller, who is charged
	// for the cluster.
	oldest  string
	creator callerID
}

// entry is what is known of one affiliate.
type entry struct {
	hasData bool
	// data and endpoints are what they cost, and endpointCount is how many endpoints there are.
	data, endpoints int64
	endpointCount   int
	caller          callerID
	// lease is the last one of its keys.
	lease int64
	// created is the revision of the first of its keys.
	created int64
}

// callerTotals are what is charged to one caller: bytes, and clusters that it has created.
type callerTotals struct {
	bytes    int64
	clusters int
}

func newTotals() totals {
	return totals{clusters: map[string]*clusterTotals{}, callers: map[callerID]*callerTotals{}, invitations: map[string]struct{}{}}
}

// isAlive reports whether there is an affiliate.
func (e *entry) isAlive() bool { return e.hasData || e.endpoints > 0 }

// isEmpty reports whether none of its keys is left.
func (e *entry) isEmpty() bool { return !e.isAlive() && e.caller == callerID{} }

func (e *entry) cost(id string) int64 { return costOfID(id) + e.data + e.endpoints }

// put applies a key that was written, and whether it is new. The key is below the Store's prefix.
func (t *totals) put(key string, kv *mvccpb.KeyValue, isNew bool) {
	if cluster, isPin := strings.CutPrefix(key, pinsKey); isPin {
		t.cluster(cluster).pin = parsePin(kv.Value)
		return
	}
	if name, isInvitation := strings.CutPrefix(key, invitationsKey); isInvitation {
		t.invitations[strings.Clone(name)] = struct{}{}
		return
	}
	cluster, id, field, ok := parseTotalsKey(key)
	if !ok {
		return
	}
	t.change(cluster, id, func(e *entry) {
		e.lease = max(e.lease, kv.Lease)
		if e.created == 0 || kv.CreateRevision < e.created {
			e.created = kv.CreateRevision
		}
		switch {
		case field == dataKey:
			e.hasData, e.data = true, fieldSize(len(kv.Value))
		case field == callerKey:
			e.caller = parseCaller(kv.Value)
		case isNew:
			e.endpoints += costOf(field)
			e.endpointCount++
		}
	})
}

// remove applies a key that was deleted. It returns the affiliate if that has lost its data and
// still has endpoints.
func (t *totals) remove(key string) (cluster, id string, orphaned bool) {
	if cluster, isPin := strings.CutPrefix(key, pinsKey); isPin {
		t.cluster(cluster).pin = pin{}
		t.dropEmpty(cluster)
		return "", "", false
	}
	if name, isInvitation := strings.CutPrefix(key, invitationsKey); isInvitation {
		delete(t.invitations, name)
		return "", "", false
	}
	cluster, id, field, ok := parseTotalsKey(key)
	if !ok {
		return "", "", false
	}
	t.change(cluster, id, func(e *entry) {
		switch field {
		case dataKey:
			e.hasData, e.data, orphaned = false, 0, true
		case callerKey:
			e.caller = callerID{}
		default:
			e.endpoints = max(e.endpoints-costOf(field), 0)
			e.endpointCount = max(e.endpointCount-1, 0)
		}
	})
	return cluster, id, orphaned
}

func parseTotalsKey(key string) (cluster, id, field string, ok bool) {
	below, isCluster := strings.CutPrefix(key, clustersKey)
	cluster, below, found := strings.Cut(below, "/")
	id, field, ok = parseAffiliateKey(below)
	return cluster, id, field, ok && isCluster && found
}

// cluster returns the totals of a cluster, and makes them if there are none.
func (t *totals) cluster(cluster string) *clusterTotals {
	c := t.clusters[cluster]
	if c == nil {
		c = &clusterTotals{entries: map[string]*entry{}}
		t.clusters[strings.Clone(cluster)] = c
	}
	return c
}

// change changes an entry and all that counts it.
func (t *totals) change(cluster, id string, change func(*entry)) {
	c := t.cluster(cluster)
	e := c.entries[id]
	if e == nil {
		e = &entry{}
		c.entries[id] = e
	}
	t.count(cluster, id, e, -1)
	change(e)
	t.count(cluster, id, e, 1)
	if e.isEmpty() {
		delete(c.entries, id)
	}
	c.settleOldest(id)
	creator := callerID{}
	if oldest := c.entries[c.oldest]; oldest != nil {
		creator = oldest.caller
	}
	if creator != c.creator {
		t.charge(c.creator, 0, -1)
		t.charge(creator, 0, 1)
		c.creator = creator
	}
	t.dropEmpty(cluster)
}

// settleOldest finds the oldest affiliate after a change of one.
func (c *clusterTotals) settleOldest(changed string) {
	oldest := c.entries[c.oldest]
	if oldest != nil && oldest.isAlive() {
		if e := c.entries[changed]; e != nil && e.isAlive() && e.created < oldest.created {
			c.oldest = changed
		}
		return
	}
	c.oldest = ""
	for id, e := range c.entries {
		if e.isAlive() && (c.oldest == "" || e.created < c.entries[c.oldest].created) {
			c.oldest = id
		}
	}
}

// count adds an entry to all that counts it, or subtracts it.
func (t *totals) count(cluster, id string, e *entry, sign int) {
	if !e.isAlive() {
		return
	}
	cost := int64(sign) * e.cost(id)
	t.bytes += cost
	t.affiliates += sign
	t.endpoints += sign * e.endpointCount
	t.clusters[cluster].affiliates += sign
	t.charge(e.caller, cost, 0)
}

// charge adds to what a caller is charged with.
func (t *totals) charge(caller callerID, bytes int64, clusters int) {
	if caller == (callerID{}) {
		return
	}
	c := t.callers[caller]
	if c == nil {
		c = &callerTotals{}
		t.callers[caller] = c
	}
	c.bytes += bytes
	c.clusters += clusters
	if *c == (callerTotals{}) {
		delete(t.callers, caller)
	}
}

// dropEmpty removes a cluster without entries and pin.
func (t *totals) dropEmpty(cluster string) {
	if c := t.clusters[cluster]; c != nil && len(c.entries) == 0 && c.pin.hash == "" {
		delete(t.clusters, cluster)
	}
}

// victim returns the affiliate that makes room for a new one in a cluster that has reached its
// limit; empty if there is room. An affiliate that publishes itself takes the place of one that
// only others speak of, of which the first to expire goes.
func (t *totals) victim(cluster string, u store.Update, limits store.Limits) (string, error) {
	c := t.clusters[cluster]
	if c == nil {
		caller := t.callers[callerOf(u.Caller)]
		if caller != nil && limits.CallerClusters > 0 && caller.clusters >= limits.CallerClusters {
			return "", store.ErrCallerFull
		}
		return "", nil
	}
	if limits.Affiliates <= 0 || c.affiliates < limits.Affiliates {
		return "", nil
	}
	victim := ""
	for id, e := range c.entries {
		if u.Data != nil && !e.hasData && e.isAlive() && (victim == "" || e.lease < c.entries[victim].lease) {
			victim = id
		}
	}
	if victim == "" {
		return "", store.ErrTooManyAffiliates
	}
	return victim, nil
}

// charged returns the caller that an affiliate is charged to after an update that makes it cost
// so much: the one that creates it, and then the last one that updates its data and has room. It
// returns the limit that would be exceeded. What does not grow is always taken.
func (t *totals) charged(have stored, u store.Update, cost int64, limits store.Limits) (callerID, error) {
	growth := cost - have.cost(u.ID)
	if growth > 0 && limits.Bytes > 0 && t.bytes+growth > limits.Bytes {
		return callerID{}, store.ErrFull
	}
	var caller callerID
	if have.caller != nil {
		caller = parseCaller(have.caller.bytes)
	}
	to := callerOf(u.Caller)
	moves := have.isNew() || u.Data != nil && to != caller
	switch {
	case moves && t.fits(to, cost, limits.CallerBytes):
		return to, nil
	case have.isNew() || !t.fits(caller, growth, limits.CallerBytes):
		return callerID{}, store.ErrCallerFull
	default:
		return caller, nil
	}
}

// fits reports whether a caller may be charged with more, within a limit; 0 for none.
func (t *totals) fits(caller callerID, more, limit int64) bool {
	if limit <= 0 || more <= 0 || caller == (callerID{}) {
		return true
	}
	if known := t.callers[caller]; known != nil {
		more += known.bytes
	}
	return more <= limit
}

// usage is the totals as of a revision of etcd, for all goroutines.
type usage struct {
	mu sync.Mutex
	totals
	revision int64
	// following is set while totals follow etcd.
	following bool
	// advanced is closed and replaced when revision grows, or following ends.
	advanced chan struct{}
}

func newUsage() *usage { return &usage{totals: newTotals(), advanced: make(chan struct{})} }

// advance lets those go on that wait for a revision. u.mu is held.
func (u *usage) advance(revision int64) {
	u.revision = revision
	close(u.advanced)
	u.advanced = make(chan struct{})
}

// await waits until the totals have a revision. It does not wait while they do not follow etcd.
func (u *usage) await(done <-chan struct{}, revision int64) {
	for {
		u.mu.Lock()
		ready, advanced := u.revision >= revision || !u.following, u.advanced
		u.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-done:
			return
		case <-advanced:
		}
	}
}

// pin returns the pin of a cluster.
func (u *usage) pin(cluster string) pin {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.clusters[cluster]; c != nil {
		return c.pin
	}
	return pin{}
}
