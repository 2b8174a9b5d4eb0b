package statedir

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spanmesh/span/reconciler/mesh"
)

// SaveLastGood stores the last good endpoint of each peer.
func (d *Dir) SaveLastGood(endpoints map[mesh.Key]netip.AddrPort) error {
	data, err := json.Marshal(endpoints)
	if err != nil {
		return fmt.Errorf("encode the endpoints: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(lastGoodFile, data)
}

// LastGood returns the endpoints that SaveLastGood stored; none, if it never did. The agent
// works without them.
func (d *Dir) LastGood() (map[mesh.Key]netip.AddrPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(lastGoodFile)
	if err != nil || data == nil {
		return nil, err
	}
	var endpoints map[mesh.Key]netip.AddrPort
	if err := json.Unmarshal(data, &endpoints); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.path, lastGoodFile), err)
	}
	return endpoints, nil
}
