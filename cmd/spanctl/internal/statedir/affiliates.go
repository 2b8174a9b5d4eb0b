package statedir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoverykube"
)

// affiliateCache is the content of affiliates.json.
type affiliateCache struct {
	// Cluster is the hash of the ID of the cluster that the affiliates are of.
	Cluster string `json:"cluster"`
	Known
}

// Known is what discovery knows of a cluster.
type Known struct {
	// Affiliates are those of discovery services, Nodes what a Kubernetes cluster says.
	Affiliates []discoveryhttp.Remembered `json:"affiliates"`
	Nodes      discoverykube.Remembered   `json:"nodes,omitzero"`
}

func hashOf(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return hex.EncodeToString(sum[:])
}

// Remember keeps what discovery knows of a cluster.
func (d *Dir) Remember(clusterID string, known Known) error {
	data, err := json.Marshal(affiliateCache{Cluster: hashOf(clusterID), Known: known})
	if err != nil {
		return fmt.Errorf("encode the affiliates: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(affiliatesFile, data)
}

// Remembered returns what was last known of a cluster; nothing if that was
// another. The cache can be done without: an error says why it is not used.
func (d *Dir) Remembered(clusterID string) (known Known, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(affiliatesFile)
	if err != nil || data == nil {
		return known, err
	}
	var cache affiliateCache
	if err := json.Unmarshal(data, &cache); err != nil {
		return known, fmt.Errorf("read %s: %w", filepath.Join(d.path, affiliatesFile), err)
	}
	if cache.Cluster != hashOf(clusterID) {
		return known, nil
	}
	return cache.Known, nil
}
