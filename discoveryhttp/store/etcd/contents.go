package etcd

import (
	"bytes"
	"encoding/hex"
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
}

// newContents returns the affiliates of a cluster whose keys begin with prefix.
func newContents(prefix string, kvs []*mvccpb.KeyValue) contents {
	c := contents{}
	for _, kv := range kvs {
		c.put(prefix, kv)
	}
	return c
}

func (p *parts) affiliate(id string) store.Affiliate {
	return store.NewAffiliate(id, p.data, p.endpoints)
}

func (c contents) snapshot() *store.Snapshot {
	all := make([]store.Affiliate, 0, len(c))
	for id, p := range c {
		all = append(all, p.affiliate(id))
	}
	return store.NewSnapshot(all)
}

// parseKey returns the affiliate of a key, and its endpoint, or nil for the key of
// the data. ok is false for a key that this package does not write.
func parseKey(prefix string, key []byte) (id string, endpoint []byte, ok bool) {
	affiliate, rest, found := strings.Cut(strings.TrimPrefix(string(key), prefix), "/")
	raw, err := hex.DecodeString(affiliate)
	if err != nil || !found {
		return "", nil, false
	}
	if rest == dataKey {
		return string(raw), nil, true
	}
	text, isEndpoint := strings.CutPrefix(rest, endpointKey)
	endpoint, err = hex.DecodeString(text)
	return string(raw), endpoint, isEndpoint && err == nil && len(endpoint) > 0
}

// put applies a key that was written. It returns the key's affiliate and whether
// that changed.
func (c contents) put(prefix string, kv *mvccpb.KeyValue) (id string, changed bool) {
	id, endpoint, ok := parseKey(prefix, kv.Key)
	if !ok {
		return id, false
	}
	p := c[id]
	if p == nil {
		p = &parts{}
		c[id] = p
	}
	switch {
	case endpoint == nil && (p.data == nil || !bytes.Equal(p.data, kv.Value)):
		p.data = append([]byte{}, kv.Value...)
	case endpoint != nil && !slices.ContainsFunc(p.endpoints, func(e []byte) bool { return bytes.Equal(e, endpoint) }):
		p.endpoints = append(slices.Clip(p.endpoints), endpoint)
	default:
		return id, false
	}
	return id, true
}

// remove applies a key that was deleted. It returns the key's affiliate and whether that
// changed. An affiliate is removed with its data, even if other machines have added
// endpoints.
func (c contents) remove(prefix string, key []byte) (id string, changed bool) {
	id, endpoint, ok := parseKey(prefix, key)
	p := c[id]
	if !ok || p == nil {
		return id, false
	}
	if endpoint != nil {
		p.endpoints = slices.DeleteFunc(slices.Clone(p.endpoints), func(e []byte) bool { return bytes.Equal(e, endpoint) })
	}
	if endpoint == nil || p.data == nil && len(p.endpoints) == 0 {
		delete(c, id)
	}
	return id, true
}
