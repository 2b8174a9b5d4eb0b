package statedir

import (
	"encoding/json"

	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
)

// BeginTrial records a trial, in place of an earlier record.
func (d *Dir) BeginTrial(r trial.Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(trialFile, data)
}

// Trial returns the recorded trial, and whether there is one. A record that is damaged is that of
// a trial that is over: its time and what was before are zero.
func (d *Dir) Trial() (r trial.Record, on bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trial()
}

func (d *Dir) trial() (r trial.Record, on bool, err error) {
	data, err := d.read(trialFile)
	if err != nil || data == nil {
		return r, false, err
	}
	if json.Unmarshal(data, &r) != nil || r.Check() != nil {
		return trial.Record{}, true, nil
	}
	return r, true, nil
}

// EndTrial removes the record of the trial.
func (d *Dir) EndTrial() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remove(trialFile)
}

// SetDown notes whether a command took the mesh down, and nothing was put in force since.
func (d *Dir) SetDown(down bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if down {
		return d.write(downFile, nil)
	}
	return d.remove(downFile)
}

// IsDown returns what SetDown noted.
func (d *Dir) IsDown() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := d.read(downFile)
	return data != nil, err
}

// InForce returns the config in force, unless the mesh was taken down: the newest, during a trial
// that is not confirmed too; else the newest that is confirmed.
func (d *Dir) InForce() (Revision, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	record, on, err := d.trial()
	if err != nil {
		return Revision{}, nil, err
	}
	all, err := d.history()
	if err != nil {
		return Revision{}, nil, err
	}
	return first(all, func(r Revision) bool { return r.Confirmed || on && r.Number > record.Newest })
}
