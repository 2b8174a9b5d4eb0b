package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
)

var errPower = errors.New("no power")

// losing returns a disk that loses power at a step, and a count of the steps.
func losing(at int) (disk durable.Disk, steps *int) {
	steps = new(int)
	return durable.Disk{Before: func(durable.Step, string) error {
		*steps++
		if *steps > at {
			return errPower
		}
		return nil
	}}, steps
}

// TestPowerLossLeavesTheOldConfigOrTheNew loses power at every step in which `apply` changes
// the disk, and starts the machine again.
func TestPowerLossLeavesTheOldConfigOrTheNew(t *testing.T) {
	const before, after = "machine: network: kubespan: {enabled: false, mtu: 1400}\n", "machine: network: kubespan: {enabled: false, mtu: 1300}\n"
	for _, c := range []struct {
		name string
		// ending is the ending of the new config's file.
		ending string
		do     func(dir *statedir.Dir, file configfile.File, name string) error
		// try is set where the old config must be there after the trial.
		try bool
	}{
		{name: "staged", ending: ".cue", do: func(_ *statedir.Dir, file configfile.File, name string) error {
			_, err := file.Store(name, []byte(after))
			return err
		}},
		{name: "immediate", ending: ".cue", do: enforceFiles(after)},
		{name: "in another format", ending: ".yaml", do: enforceFiles(after)},
		{name: "in another format, back and again", ending: ".yaml", do: func(dir *statedir.Dir, file configfile.File, name string) error {
			for _, step := range []struct{ name, text string }{{"a.yaml", before}, {"a.cue", before}, {"a.yaml", after}, {"a.cue", after}, {name, after}} {
				if err := enforceFiles(step.text)(dir, file, step.name); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "tried", ending: ".cue", try: true, do: func(dir *statedir.Dir, file configfile.File, name string) error {
			if _, err := (&configManager{dir: dir, file: file}).beginTrial(time.Second); err != nil {
				return err
			}
			return enforceFiles(after)(dir, file, name)
		}},
		{name: "tried and rolled back", ending: ".cue", try: true, do: func(dir *statedir.Dir, file configfile.File, name string) error {
			trial, err := (&configManager{dir: dir, file: file}).beginTrial(time.Second)
			if err != nil {
				return err
			}
			if err := enforceFiles(after)(dir, file, name); err != nil {
				return err
			}
			return restoreFile(dir, file, trial.Before)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at := 0; ; at++ {
				root := t.TempDir()
				path, state := filepath.Join(root, "machine.cue"), filepath.Join(root, "state")
				dir := opened(t, state)
				if err := enforceFiles(before)(dir, configfile.At(path), path); err != nil {
					t.Fatal(err)
				}
				file := configfile.At(path)
				disk, steps := losing(at)
				dir.Disk, file.Disk = disk, disk
				err := c.do(dir, file, "new"+c.ending)
				if closing := dir.Close(); closing != nil {
					t.Fatal(closing)
				}
				if err != nil && !errors.Is(err, errPower) {
					t.Fatal(err)
				}

				// The machine starts again.
				dir = opened(t, state)
				if trial, on, trialErr := dir.Trial(); trialErr != nil {
					t.Fatal(trialErr)
				} else if on {
					if err := restoreFile(dir, configfile.At(path), trial.Before); err != nil {
						t.Fatal(err)
					}
				}
				_, now, readErr := configfile.At(path).Read()
				whole := string(now) == before || string(now) == after
				if readErr != nil || !whole || c.try && string(now) != before {
					t.Errorf("power lost at step %d: the config is %q, %v", at, now, readErr)
				}
				all, historyErr := dir.History()
				for _, r := range all {
					if _, text, err := dir.Read(r.Number); err != nil || string(text) != before && string(text) != after {
						t.Errorf("power lost at step %d: revision %d is %q, %v", at, r.Number, text, err)
					}
				}
				if historyErr != nil || len(all) == 0 {
					t.Errorf("power lost at step %d: the history is %v, %v", at, all, historyErr)
				}
				if closing := dir.Close(); closing != nil {
					t.Fatal(closing)
				}
				if err == nil {
					if *steps != at || at < 4 {
						t.Errorf("it took %d steps, %d with power", *steps, at)
					}
					if !c.try && string(now) != after {
						t.Errorf("with power to the end, the config is %q", now)
					}
					return
				}
			}
		})
	}
}

// enforceFiles returns the changes of the disk when a config is put in force.
func enforceFiles(text string) func(*statedir.Dir, configfile.File, string) error {
	return func(dir *statedir.Dir, file configfile.File, name string) error {
		path, err := file.Store(name, []byte(text))
		if err != nil {
			return err
		}
		if _, err := dir.Keep(time.Now(), "test", path, []byte(text)); err != nil {
			return fmt.Errorf("keep: %w", err)
		}
		return nil
	}
}

func opened(t *testing.T, path string) *statedir.Dir {
	t.Helper()
	dir, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
