package statedir

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spanmesh/span/reconciler/resource"
)

// SaveEvents stores events, the oldest first.
func (d *Dir) SaveEvents(events []resource.Event) error {
	data, err := json.Marshal(events)
	if err != nil {
		return fmt.Errorf("encode the events: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(eventsFile, data)
}

// Events returns what SaveEvents stored; none, if it never did. The agent works without them.
func (d *Dir) Events() ([]resource.Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(eventsFile)
	if err != nil || data == nil {
		return nil, err
	}
	var events []resource.Event
	if err := json.Unmarshal(data, &events); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(d.path, eventsFile), err)
	}
	return events, nil
}
