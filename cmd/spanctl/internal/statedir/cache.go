package statedir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spanmesh/span/reconciler"
)

var _ reconciler.CacheStore = (*Dir)(nil)

// registryCache is the content of the file of one registry.
type registryCache struct {
	// Cluster is the hash of the cluster's ID.
	Cluster string `json:"cluster"`
	// Data is the registry's own.
	Data json.RawMessage `json:"data"`
}

// cacheFile returns the name of the file that a registry's cache is in.
func cacheFile(registry string) string { return "discovery-" + registry + ".json" }

func hashOf(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return hex.EncodeToString(sum[:])
}

// Save implements reconciler.CacheStore. It replaces the cache of another cluster.
func (d *Dir) Save(registry, clusterID string, data []byte) error {
	content := make([]byte, 0, len(data)+128)
	content = append(content, `{"cluster":"`+hashOf(clusterID)+`","data":`...)
	content = append(append(content, data...), '}') // data may be megabytes, of which package json would keep more copies
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(cacheFile(registry), content)
}

// Load implements reconciler.CacheStore.
func (d *Dir) Load(registry, clusterID string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, err := d.read(cacheFile(registry))
	if err != nil || content == nil {
		return nil, err
	}
	var cache registryCache
	if err := json.Unmarshal(content, &cache); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.path, cacheFile(registry)), err)
	}
	if cache.Cluster != hashOf(clusterID) {
		return nil, nil
	}
	return cache.Data, nil
}
