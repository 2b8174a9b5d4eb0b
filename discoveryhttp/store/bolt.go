package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// Bolt is a Memory that also keeps everything in a file. A change is acknowledged
// once it is on disk.
//
// The file has two buckets. Bucket "pins" has a record for each cluster. Bucket
// "clusters" has a bucket for each cluster, with a record for each affiliate.
type Bolt struct {
	memory *Memory
	db     *bbolt.DB
}

// The names of the buckets at the root of the file.
var (
	clustersBucket = []byte("clusters")
	pinsBucket     = []byte("pins")
)

const (
	// openTimeout bounds the wait for another process to close the file.
	openTimeout = 5 * time.Second
	// batchDelay bounds how long a change waits for others to share its sync. It is
	// about as long as a sync takes.
	batchDelay = 2 * time.Millisecond
)

// OpenBolt opens the file at path and reads it. It creates the file, mode 0600, if
// there is none.
func OpenBolt(path string, limits Limits) (*Bolt, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open store %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	db.MaxBatchDelay = batchDelay
	b := &Bolt{memory: NewMemory(limits), db: db}
	if err := b.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read store %s: %w", path, err), db.Close())
	}
	return b, nil
}

// load reads the file into memory.
func (b *Bolt) load() error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(clustersBucket)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(pinsBucket)
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.db.View(func(tx *bbolt.Tx) error {
		clusters := tx.Bucket(clustersBucket)
		err := clusters.ForEachBucket(func(clusterID []byte) error {
			c := newCluster()
			b.memory.clusters[string(clusterID)] = c
			return clusters.Bucket(clusterID).ForEach(func(id, raw []byte) error {
				var r storepb.Record
				if err := proto.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("an affiliate record is damaged: %w", err)
				}
				c.entries[string(id)] = &entry{wire: r.GetAffiliate(), expires: r.GetExpires(), endpoints: r.GetEndpointExpires()}
				return nil
			})
		})
		if err != nil {
			return err
		}
		return tx.Bucket(pinsBucket).ForEach(func(clusterID, raw []byte) error {
			var p storepb.Pin
			if err := proto.Unmarshal(raw, &p); err != nil {
				return fmt.Errorf("a pin record is damaged: %w", err)
			}
			c := b.memory.clusters[string(clusterID)]
			if c == nil {
				c = newCluster()
				b.memory.clusters[string(clusterID)] = c
			}
			c.pin = pin{hash: p.GetHash(), created: p.GetCreated(), used: p.GetUsed(), saved: p.GetUsed()}
			return nil
		})
	})
}

// recordID names a record: that of an affiliate, or with an empty ID the pin of the
// cluster.
type recordID struct{ cluster, id string }

// save writes records in one transaction that concurrent callers share, so that one
// sync of the file serves many. The transaction reads the records from memory,
// where they are at least as new as when save was called.
func (b *Bolt) save(ids ...recordID) error {
	err := b.db.Batch(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := b.put(tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write to the store's file: %w", err)
	}
	return nil
}

// put writes or deletes one record.
func (b *Bolt) put(tx *bbolt.Tx, id recordID) error {
	raw, err := b.encode(id)
	if err != nil {
		return err
	}
	if id.id == "" {
		if raw == nil {
			return tx.Bucket(pinsBucket).Delete([]byte(id.cluster))
		}
		return tx.Bucket(pinsBucket).Put([]byte(id.cluster), raw)
	}
	clusters := tx.Bucket(clustersBucket)
	if raw != nil {
		bucket, err := clusters.CreateBucketIfNotExists([]byte(id.cluster))
		if err != nil {
			return err
		}
		return bucket.Put([]byte(id.id), raw)
	}
	bucket := clusters.Bucket([]byte(id.cluster))
	if bucket == nil {
		return nil
	}
	if err := bucket.Delete([]byte(id.id)); err != nil {
		return err
	}
	if first, _ := bucket.Cursor().First(); first == nil {
		return clusters.DeleteBucket([]byte(id.cluster))
	}
	return nil
}

// encode returns a record as it is in memory, or nil if there is none.
func (b *Bolt) encode(id recordID) ([]byte, error) {
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	c := b.memory.clusters[id.cluster]
	switch {
	case c == nil:
		return nil, nil
	case id.id == "" && c.pin.hash != nil:
		return proto.Marshal(&storepb.Pin{Hash: c.pin.hash, Created: c.pin.created, Used: c.pin.used})
	case c.entries[id.id] == nil:
		return nil, nil
	}
	e := c.entries[id.id]
	return proto.Marshal(&storepb.Record{Affiliate: e.wire, Expires: e.expires, EndpointExpires: e.endpoints})
}

// Update implements server.Store.
func (b *Bolt) Update(ctx context.Context, clusterID string, u Update) error {
	if err := b.memory.Update(ctx, clusterID, u); err != nil {
		return err
	}
	ids := []recordID{{clusterID, u.ID}}
	if b.memory.pinSaveDue(clusterID) {
		ids = append(ids, recordID{clusterID, ""})
	}
	return b.save(ids...)
}

// Delete implements server.Store.
func (b *Bolt) Delete(ctx context.Context, clusterID, id string) error {
	if err := b.memory.Delete(ctx, clusterID, id); err != nil {
		return err
	}
	return b.save(recordID{clusterID, id})
}

// List implements server.Store.
func (b *Bolt) List(ctx context.Context, clusterID string) (*Snapshot, error) {
	return b.memory.List(ctx, clusterID)
}

// Watch implements server.Store.
func (b *Bolt) Watch(ctx context.Context, clusterID string, token []byte) (*Snapshot, *Watcher, error) {
	return b.memory.Watch(ctx, clusterID, token)
}

// pinSaveInterval is how often the time of the last use of a pin is saved.
const pinSaveInterval = time.Hour

// Admit implements server.Store. The time of a pin's last use is saved once every
// pinSaveInterval.
func (b *Bolt) Admit(ctx context.Context, clusterID string, token []byte, now time.Time) (bool, error) {
	ok, err := b.memory.Admit(ctx, clusterID, token, now)
	if err != nil || !ok || !b.memory.pinSaveDue(clusterID) {
		return ok, err
	}
	return ok, b.save(recordID{clusterID, ""})
}

// pinSaveDue reports whether the pin of a cluster must be saved, and records that it
// has been.
func (m *Memory) pinSaveDue(clusterID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clusters[clusterID]
	if c == nil || c.pin.used-c.pin.saved < pinSaveInterval.Milliseconds() {
		return false
	}
	c.pin.saved = c.pin.used
	return true
}

// Expire implements server.Store.
func (b *Bolt) Expire(now time.Time) error {
	var touched []recordID
	b.memory.mu.Lock()
	b.memory.expire(now, func(clusterID, id string) {
		touched = append(touched, recordID{clusterID, id})
	})
	b.memory.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	return b.save(touched...)
}

// Stats implements server.Store.
func (b *Bolt) Stats() Stats { return b.memory.Stats() }

// Ready implements server.Store.
func (b *Bolt) Ready(context.Context) error { return nil }

// Close closes the file.
func (b *Bolt) Close() error { return b.db.Close() }
