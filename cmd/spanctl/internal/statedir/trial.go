package statedir

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Trial is a config that is in force until the trial is over, unless it is confirmed.
type Trial struct {
	// Before is the revision that is in force again after the trial; 0 if there was none.
	Before int `json:"before"`
	// Until is the end of the trial by the wall clock.
	Until time.Time `json:"until"`
	// Timeout is the length of the trial.
	Timeout time.Duration `json:"timeout"`
}

// Left returns how long the trial goes on. A clock that was set back does not prolong it
// beyond its length.
func (t Trial) Left(now time.Time) time.Duration { return min(t.Until.Sub(now), t.Timeout) }

// Equal reports whether both are the same trial.
func (t Trial) Equal(other Trial) bool {
	return t.Before == other.Before && t.Timeout == other.Timeout && t.Until.Equal(other.Until)
}

// BeginTrial records a trial. Nothing else may be changed before.
func (d *Dir) BeginTrial(t Trial) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.write(trialFile, data)
}

// Trial returns the recorded trial, and whether there is one.
func (d *Dir) Trial() (t Trial, on bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trial()
}

func (d *Dir) trial() (t Trial, on bool, err error) {
	data, err := d.read(trialFile)
	if err != nil || data == nil {
		return t, false, err
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return t, false, fmt.Errorf("read %s: %w", filepath.Join(d.path, trialFile), err)
	}
	return t, true, nil
}

// EndTrial removes the record of the trial.
func (d *Dir) EndTrial() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Disk.Remove(filepath.Join(d.path, trialFile))
}
