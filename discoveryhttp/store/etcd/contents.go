package etcd

import (
	"bytes"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// contents are the affiliates of a cluster by ID, made from the keys in etcd.
type contents map[string]*parts

// parts are the data, nil if there is none, and the endpoints of an affiliate.
// Slices are replaced, never changed: affiliates may be encoded from them later.
type parts struct {
	data      []byte
	endpoints [][]byte
	// encoded is the affiliate; nil after a change.
	encoded *store.Affiliate
}

// newContents returns the affiliates of a cluster whose keys begin with prefix.
func newContents(prefix string, kvs []*mvccpb.KeyValue) contents {
	c := contents{}
	for _, kv := range kvs {
		c.put(prefix, kv)
	}
	return c
}

// affiliate returns the affiliate, which is encoded once.
func (p *parts) affiliate(id string) store.Affiliate {
	if p.encoded == nil {
		a := store.NewAffiliate(id, p.data, p.endpoints)
		p.encoded = &a
	}
	return *p.encoded
}

func (c contents) snapshot() *store.Snapshot {
	all := make([]store.Affiliate, 0, len(c))
	for id, p := range c {
		all = append(all, p.affiliate(id))
	}
	return store.NewSnapshot(all)
}

// put applies a key that was written. It returns the key's affiliate and whether
// that changed.
func (c contents) put(prefix string, kv *mvccpb.KeyValue) (id string, changed bool) {
	id, field, ok := parseAffiliateKey(strings.TrimPrefix(string(kv.Key), prefix))
	if !ok || field == callerKey {
		return id, false
	}
	p := c[id]
	if p == nil {
		p = &parts{}
		c[id] = p
	}
	endpoint := parseEndpoint(field)
	switch {
	case field == dataKey && (p.data == nil || !bytes.Equal(p.data, kv.Value)):
		p.data = append([]byte{}, kv.Value...)
	case field != dataKey && !slices.ContainsFunc(p.endpoints, func(e []byte) bool { return bytes.Equal(e, endpoint) }):
		p.endpoints = append(slices.Clip(p.endpoints), endpoint)
	default:
		return id, false
	}
	p.encoded = nil
	return id, true
}

// remove applies a key that was deleted. It returns the key's affiliate and whether that
// changed. An affiliate is removed with its data, even if other machines have added
// endpoints.
func (c contents) remove(prefix string, key []byte) (id string, changed bool) {
	id, field, ok := parseAffiliateKey(strings.TrimPrefix(string(key), prefix))
	p := c[id]
	if !ok || p == nil || field == callerKey {
		return id, false
	}
	if field != dataKey {
		endpoint := parseEndpoint(field)
		p.endpoints = slices.DeleteFunc(slices.Clone(p.endpoints), func(e []byte) bool { return bytes.Equal(e, endpoint) })
		p.encoded = nil
	}
	if field == dataKey || p.data == nil && len(p.endpoints) == 0 {
		delete(c, id)
	}
	return id, true
}
