package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Bolt is a Memory whose every change is on disk before it is acknowledged.
// The file has a bucket per cluster, and in it a record per affiliate.
type Bolt struct {
	memory *Memory
	db     *bbolt.DB
}

// openTimeout is how long to wait for another process to close the file.
const openTimeout = 5 * time.Second

// record is an affiliate on disk.
type record struct {
	Data      []byte           `json:"data,omitempty"`
	Expires   time.Time        `json:"expires"`
	Endpoints []recordEndpoint `json:"endpoints,omitempty"`
}

type recordEndpoint struct {
	Data    []byte    `json:"data"`
	Expires time.Time `json:"expires"`
}

// OpenBolt opens or creates the file at path, mode 0600, and reads it.
func OpenBolt(path string, limits Limits) (*Bolt, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the store %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", path, err)
	}
	b := &Bolt{memory: NewMemory(limits), db: db}
	if err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the store %s: %w", path, err), db.Close())
	}
	return b, nil
}

func (b *Bolt) load() error {
	return b.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(clusterID []byte, bucket *bbolt.Bucket) error {
			c := newCluster()
			b.memory.clusters[string(clusterID)] = c
			return bucket.ForEach(func(id, raw []byte) error {
				var r record
				if err := json.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("a record is damaged: %w", err)
				}
				c.entries[string(id)] = r.entry(string(id))
				return nil
			})
		})
	})
}

func (r record) entry(id string) *entry {
	e := &entry{view: &Affiliate{ID: id, Data: r.Data}, expires: r.Expires, endpoints: map[string]time.Time{}}
	for _, endpoint := range r.Endpoints {
		e.view.Endpoints = append(e.view.Endpoints, endpoint.Data)
		e.endpoints[string(endpoint.Data)] = endpoint.Expires
	}
	return e
}

func (e *entry) record() record {
	r := record{Data: e.view.Data, Expires: e.expires}
	for _, endpoint := range e.view.Endpoints {
		r.Endpoints = append(r.Endpoints, recordEndpoint{Data: endpoint, Expires: e.endpoints[string(endpoint)]})
	}
	return r
}

// save writes affiliates in one transaction that concurrent callers share, so
// that one sync of the file serves many. It reads them from memory then, where
// they are never older than when save was called.
func (b *Bolt) save(ids ...affiliateID) error {
	err := b.db.Batch(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := b.put(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write to the store: %w", err)
	}
	return nil
}

type affiliateID struct{ cluster, id string }

func (b *Bolt) put(tx *bbolt.Tx, id affiliateID) error {
	raw, err := b.encode(id)
	if err != nil {
		return err
	}
	if raw != nil {
		bucket, err := tx.CreateBucketIfNotExists([]byte(id.cluster))
		if err != nil {
			return err
		}
		return bucket.Put([]byte(id.id), raw)
	}
	bucket := tx.Bucket([]byte(id.cluster))
	if bucket == nil {
		return nil
	}
	if err := bucket.Delete([]byte(id.id)); err != nil {
		return err
	}
	if first, _ := bucket.Cursor().First(); first == nil {
		return tx.DeleteBucket([]byte(id.cluster))
	}
	return nil
}

// encode returns the record of an affiliate, nil if there is none.
func (b *Bolt) encode(id affiliateID) ([]byte, error) {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	c := b.memory.clusters[id.cluster]
	if c == nil || c.entries[id.id] == nil {
		return nil, nil
	}
	return json.Marshal(c.entries[id.id].record())
}

// Update implements server.Store.
func (b *Bolt) Update(ctx context.Context, clusterID string, u Update) error {
	if err := b.memory.Update(ctx, clusterID, u); err != nil {
		return err
	}
	return b.save(affiliateID{clusterID, u.ID})
}

// Delete implements server.Store.
func (b *Bolt) Delete(ctx context.Context, clusterID, id string) error {
	if err := b.memory.Delete(ctx, clusterID, id); err != nil {
		return err
	}
	return b.save(affiliateID{clusterID, id})
}

// List implements server.Store.
func (b *Bolt) List(ctx context.Context, clusterID string) ([]*Affiliate, error) {
	return b.memory.List(ctx, clusterID)
}

// Watch implements server.Store.
func (b *Bolt) Watch(ctx context.Context, clusterID string) ([]*Affiliate, *Watcher, error) {
	return b.memory.Watch(ctx, clusterID)
}

// Expire implements server.Store.
func (b *Bolt) Expire(_ context.Context, now time.Time) error {
	var touched []affiliateID
	b.memory.mu.Lock()
	b.memory.expire(now, func(clusterID, id string) {
		touched = append(touched, affiliateID{clusterID, id})
	})
	b.memory.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	return b.save(touched...)
}

// Close implements server.Store.
func (b *Bolt) Close() error { return b.db.Close() }
