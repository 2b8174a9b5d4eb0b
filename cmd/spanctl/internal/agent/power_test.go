package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
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

// TestPowerLossLeavesTheOldConfigOrTheNew loses power at every step in which a command changes
// the disk, and starts the machine again.
func TestPowerLossLeavesTheOldConfigOrTheNew(t *testing.T) {
	const before, after = 1400, 1300
	changed := change{name: "new.cue", data: withMTU("1300")}
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, m *configManager) error
		// try is set where the old config must be there after the trial.
		try bool
	}{
		{name: "staged", do: func(ctx context.Context, m *configManager) error {
			_, err := m.stage(ctx, changed)
			return err
		}},
		{name: "immediate", do: func(ctx context.Context, m *configManager) error {
			_, err := m.apply(ctx, changed)
			return err
		}},
		{name: "in another format", do: func(ctx context.Context, m *configManager) error {
			_, err := m.apply(ctx, change{name: "new.yaml", data: yamlMTU("1300")})
			return err
		}},
		{name: "in another format, back and again", do: func(ctx context.Context, m *configManager) error {
			for _, step := range []change{
				{name: "a.yaml", data: yamlMTU("1400")}, {name: "a.cue", data: withMTU("1400")},
				{name: "a.yaml", data: yamlMTU("1300")}, changed,
			} {
				if _, err := m.apply(ctx, step); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "tried", try: true, do: func(ctx context.Context, m *configManager) error {
			_, err := m.try(ctx, changed, time.Minute)
			return err
		}},
		{name: "tried and rolled back", try: true, do: func(ctx context.Context, m *configManager) error {
			if _, err := m.try(ctx, changed, time.Minute); err != nil {
				return err
			}
			_, err := m.rollback(ctx, 0)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at := 0; ; at++ {
				root := t.TempDir()
				disk, steps := losing(at)
				first, _ := managerAt(root, durable.Disk{})
				if _, err := first.apply(t.Context(), change{name: "old.cue", data: withMTU("1400")}); err != nil {
					t.Fatal(err)
				}
				losing, _ := managerAt(root, disk)
				err := c.do(t.Context(), losing)
				if err != nil && !errors.Is(err, errPower) {
					t.Fatal(err)
				}

				// The machine starts again, after the trial.
				again, runner := managerAt(root, durable.Disk{})
				again.now = func() trial.Moment {
					now := machineNow()
					return trial.Moment{Boot: "another", Up: time.Second, Wall: now.Wall.Add(time.Hour)}
				}
				again.start(t.Context())
				got := runner.mtus[len(runner.mtus)-1]
				if got != before && got != after || c.try && got != before || err == nil && !c.try && got != after {
					t.Errorf("power lost at step %d: in force is %d, %v", at, got, err)
				}
				all, historyErr := again.dir.History()
				for _, r := range all {
					text, err := os.ReadFile(r.Path)
					if err != nil || !strings.Contains(string(text), "1400") && !strings.Contains(string(text), "1300") {
						t.Errorf("power lost at step %d: revision %d is %q, %v", at, r.Number, text, err)
					}
				}
				if historyErr != nil || len(all) == 0 {
					t.Errorf("power lost at step %d: the history is %v, %v", at, all, historyErr)
				}
				if err == nil {
					if *steps != at || at < 4 {
						t.Errorf("it took %d steps, %d with power", *steps, at)
					}
					return
				}
			}
		})
	}
}

func yamlMTU(mtu string) []byte {
	return []byte("machine: {network: {kubespan: {enabled: false, mtu: " + mtu + "}}}\n")
}

// managerAt returns the manager of a machine whose files are in root.
func managerAt(root string, disk durable.Disk) (*configManager, *fakeRunner) {
	runner := &fakeRunner{alone: true}
	m := &configManager{eval: &evaluator{}, file: configfile.At(filepath.Join(root, "machine.cue")), dir: statedir.At(filepath.Join(root, "state")),
		runner: runner, log: slog.New(slog.DiscardHandler), trialBegan: func(trial.Record) {}}
	m.file.Disk, m.dir.Disk = disk, disk
	return m, runner
}
