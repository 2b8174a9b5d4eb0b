package statedir

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spanmesh/span/reconciler/portmap"
)

// PortMappings are what routers map to this machine's port, and what they know the machine by.
type PortMappings struct {
	Nonce portmap.Nonce  `json:"nonce"`
	Held  []portmap.Held `json:"held"`
}

// SavePortMappings stores the port mappings for the next agent.
func (d *Dir) SavePortMappings(m PortMappings) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the port mappings: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(portMappingsFile, data)
}

// PortMappings returns what SavePortMappings stored; the zero value, if it never did.
func (d *Dir) PortMappings() (m PortMappings, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(portMappingsFile)
	if err != nil || data == nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return PortMappings{}, fmt.Errorf("read %s: %w", filepath.Join(d.path, portMappingsFile), err)
	}
	return m, nil
}
