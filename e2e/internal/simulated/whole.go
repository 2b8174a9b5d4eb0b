package simulated

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// whole is a machine with all of an agent but the kernel.
type whole struct {
	number  int
	cluster *Cluster
	*gate
	kernel *kernel
	cache  cache

	// loop is that of the present process of the agent.
	loop    *reconciler.Loop
	stopRun context.CancelFunc
	done    sync.WaitGroup
}

func newWhole(c *Cluster, number int, traffic *Traffic, keys *keys) machine {
	return &whole{number: number, cluster: c, gate: newGate(number, traffic), kernel: newKernel(host(number), keys.number)}
}

// start implements machine.
func (w *whole) start() error {
	log := slog.New(slog.DiscardHandler)
	identify := func(string, mesh.Host) (mesh.Identity, error) { return w.cluster.identity(w.number) }
	engine := reconciler.NewEngine(w.kernel, identify, &resource.Store{}, log)
	discovery := reconciler.NewDiscovery(reconciler.DiscoveryOptions{
		Drivers:   []reconciler.Driver{discoveryhttp.Driver()},
		NodeID:    func() (string, error) { return nodeID(w.number), nil },
		UserAgent: "spanctl/fleet",
		Dialer:    func(uint32) reconciler.DialFunc { return w.dial },
		Cache:     &w.cache,
		Log:       log,
	})
	w.loop = reconciler.NewLoop(engine, discovery, log)
	ctx, stop := context.WithCancel(context.Background())
	w.stopRun = stop
	w.done.Go(func() { w.loop.Run(ctx) })
	if _, err := w.loop.SetConfig(ctx, w.cluster.config); err != nil {
		stop()
		return fmt.Errorf("machine %d: %w", w.number, err)
	}
	return nil
}

// stop implements machine.
func (w *whole) stop(ctx context.Context, leave bool) error {
	var err error
	if leave {
		_, err = w.loop.Down(ctx)
	}
	w.stopRun()
	w.done.Wait()
	return err
}

// view implements machine. A machine knows what its kernel has as peers.
func (w *whole) view(all *Set) (v view) {
	sessions := w.loop.Last().Sessions
	v.following = len(sessions) > 0 && !slices.ContainsFunc(sessions, func(s health.Session) bool { return s.State != health.Connected })
	v.lacks, v.extra = w.kernel.compare(all, w.number)
	return v
}

// keys has the numbers of the machines whose public keys are known. It is safe for concurrent use.
type keys struct {
	mu sync.RWMutex
	// made are the numbers below which all keys were made.
	made    int
	numbers map[mesh.Key]int
}

// makeUpTo makes the keys of the machines below a number.
func (k *keys) makeUpTo(number int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for ; k.made < number; k.made++ {
		k.numbers[privateKey(k.made).Public()] = k.made
	}
}

// number returns the number of the machine with a key; -1 for none.
func (k *keys) number(key mesh.Key) int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if n, has := k.numbers[key]; has {
		return n
	}
	return -1
}

// cache is a reconciler.CacheStore in memory.
type cache struct {
	mu   sync.Mutex
	data map[string][]byte
}

// Load implements reconciler.CacheStore.
func (c *cache) Load(registry, clusterID string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data[registry+" "+clusterID], nil
}

// Save implements reconciler.CacheStore.
func (c *cache) Save(registry, clusterID string, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		c.data = map[string][]byte{}
	}
	c.data[registry+" "+clusterID] = data
	return nil
}

// size returns how many bytes the cache has. On a machine they are a file.
func (c *cache) size() (bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for data := range maps.Values(c.data) {
		bytes += cap(data)
	}
	return bytes
}

var errUnknown = errors.New("no such machine")
