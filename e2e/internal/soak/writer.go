package soak

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/wire"
)

// The size of the churn.
const (
	clusters = 20
	// members is the number of affiliates of a cluster.
	members = 10
	// lifetime is the TTL of an affiliate.
	lifetime = 10 * time.Minute
	// writePause bounds the time between two writes of an affiliate.
	writePause = 200 * time.Millisecond
	// writeDeadline bounds a write.
	writeDeadline = 5 * time.Second
	// minData and maxData bound the data of an affiliate, in bytes.
	minData, maxData = 64, 2048
	// deletions is how often a write is a deletion: once in so many.
	deletions = 20
)

// key names an affiliate.
type key struct{ cluster, id string }

// writers write affiliates and keep the ledger.
type writers struct {
	client wire.Client

	mu      sync.Mutex
	entries map[key]*entry

	acknowledged, refused atomic.Int64
}

func newWriters(c wire.Client) *writers { return &writers{client: c, entries: map[key]*entry{}} }

// write updates or deletes an affiliate. One affiliate has one writer.
func (w *writers) write(ctx context.Context, k key, isDeletion bool) error {
	w.mu.Lock()
	e, ok := w.entries[k]
	if !ok {
		e = newEntry()
		w.entries[k] = e
	}
	number := e.try(isDeletion)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	method, request := "AffiliateUpdate", wire.UpdateRequest(k.cluster, k.id, lifetime, numbered(number), make([]byte, 32))
	if isDeletion {
		method, request = "AffiliateDelete", wire.DeleteRequest(k.cluster, k.id)
	}
	if _, err := w.client.Call(ctx, method, request); err != nil {
		w.refused.Add(1)
		return fmt.Errorf("%s: %w", method, err)
	}
	w.acknowledged.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	e.acknowledge(isDeletion)
	return nil
}

// numbered returns data of some size that begins with a number.
func numbered(number uint64) []byte {
	data := make([]byte, minData+rand.IntN(maxData-minData+1))
	binary.LittleEndian.PutUint64(data, number)
	return data
}

// numberOf returns the number in data.
func numberOf(data []byte) uint64 {
	if len(data) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(data)
}

// churn writes all affiliates over and over until ctx ends, and returns the first error of a
// write.
func (w *writers) churn(ctx context.Context) error {
	var group errgroup.Group
	for c := range clusters {
		for m := range members {
			group.Go(func() error { return w.churnOne(ctx, key{clusterName(c), fmt.Sprintf("member-%d", m)}) })
		}
	}
	return group.Wait()
}

func clusterName(c int) string { return fmt.Sprintf("soak-%d", c) }

// churnOne goes on after an error.
func (w *writers) churnOne(ctx context.Context, k key) error {
	var first error
	for attack.Pause(ctx, rand.N(writePause)) {
		// A write that ctx ended would be unknown, so it ends by its deadline alone.
		err := w.write(context.WithoutCancel(ctx), k, rand.IntN(deletions) == 0)
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// grow writes affiliates of a cluster until the server refuses one, and returns that error.
// The affiliates stay.
func (w *writers) grow(ctx context.Context, cluster string) error {
	for i := range 100_000 {
		if err := w.write(ctx, key{cluster, fmt.Sprintf("member-%d", i)}, false); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the affiliates of a cluster.
func (w *writers) remove(ctx context.Context, cluster string) error {
	for _, k := range w.keys(cluster) {
		if err := w.write(ctx, k, true); err != nil {
			return err
		}
	}
	return nil
}

// keys returns the affiliates of a cluster that were written.
func (w *writers) keys(cluster string) []key {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []key
	for k := range w.entries {
		if k.cluster == cluster {
			out = append(out, k)
		}
	}
	return out
}

// forget drops a cluster from the ledger.
func (w *writers) forget(cluster string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.entries {
		if k.cluster == cluster {
			delete(w.entries, k)
		}
	}
}

// check compares what the server lists for a cluster with the ledger.
func (w *writers) check(ctx context.Context, cluster string) error {
	has, err := list(ctx, w.client, cluster)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, e := range w.entries {
		if k.cluster != cluster {
			continue
		}
		if err := e.check(has[k.id]); err != nil {
			return fmt.Errorf("%s of %s: %w", k.id, k.cluster, err)
		}
		delete(has, k.id)
	}
	for id := range has {
		return fmt.Errorf("%s has the affiliate %s, which nobody wrote", cluster, id)
	}
	return nil
}

// list returns the affiliates of a cluster by ID, each with the number of its write. After a
// restart, the client connects again first.
func list(ctx context.Context, c wire.Client, cluster string) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, readiness)
	defer cancel()
	answer, err := c.Call(ctx, "List", wire.ClusterRequest(cluster))
	for err != nil && attack.Pause(ctx, watchAgain) {
		answer, err = c.Call(ctx, "List", wire.ClusterRequest(cluster))
	}
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	has := map[string]uint64{}
	all, _ := wire.Affiliates(answer)
	for _, a := range all {
		has[a.ID] = numberOf(a.Data)
	}
	return has, nil
}
