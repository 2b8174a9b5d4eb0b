package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/schema"
)

// The bounds of a trial.
const (
	trialAtLeast = time.Second
	trialAtMost  = 24 * time.Hour
	// trialRetry is the wait after what was before could not be brought back.
	trialRetry = 5 * time.Second
)

// ErrNoTrial says that no config is on trial.
var ErrNoTrial = errors.New("no config is on trial")

// try puts a config in force until the trial is over: what was before comes back then,
// unless confirm is called. That it is to come back is on disk before anything changes.
func (k *keeper) try(ctx context.Context, name string, data []byte, timeout time.Duration) (pass *reconciler.Pass, path string, until time.Time, err error) {
	if _, err := loadConfig(name, data); err != nil {
		return nil, "", until, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	trial, err := beginTrial(k.dir, k.file, timeout)
	if err != nil {
		return nil, "", until, err
	}
	pass, path, err = k.store(ctx, "try", name, data)
	k.told()
	k.log.Info("the config is on trial", "until", trial.Until.Format(time.RFC3339))
	return pass, path, trial.Until, err
}

// errOnTrial refuses a config while another is on trial.
var errOnTrial = errors.New("a config is on trial: `spanctl confirm` keeps it, `spanctl rollback` ends it")

// noTrial is an error where a config is on trial.
func noTrial(dir *statedir.Dir) error {
	_, on, err := dir.Trial()
	if err == nil && on {
		err = errOnTrial
	}
	return err
}

// beginTrial writes down what comes back after a trial, and when.
func beginTrial(dir *statedir.Dir, file configfile.File, timeout time.Duration) (statedir.Trial, error) {
	if timeout < trialAtLeast || timeout > trialAtMost {
		return statedir.Trial{}, fmt.Errorf("a trial of %v: want %v to %v", timeout, trialAtLeast, trialAtMost)
	}
	if err := noTrial(dir); err != nil {
		return statedir.Trial{}, err
	}
	before, known, err := dir.Read(0)
	if err != nil && !errors.Is(err, statedir.ErrNoRevision) {
		return statedir.Trial{}, err
	}
	_, now, err := file.Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return statedir.Trial{}, err
	case string(now) != string(known):
		return statedir.Trial{}, fmt.Errorf("%s holds a config that is not in force, and would be lost: `spanctl reload` it first", file.Path())
	}
	trial := statedir.Trial{Before: before.Number, Until: time.Now().Add(timeout).Round(0), Timeout: timeout}
	return trial, dir.BeginTrial(trial)
}

// told wakes followTrials.
func (k *keeper) told() {
	select {
	case k.trials <- struct{}{}:
	default:
	}
}

// confirm ends the trial: the config stays.
func (k *keeper) confirm() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := confirm(k.dir); err != nil {
		return err
	}
	k.told()
	k.log.Info("the config on trial is confirmed")
	return nil
}

func confirm(dir *statedir.Dir) error {
	if _, on, err := dir.Trial(); !on || err != nil {
		return errors.Join(err, ErrNoTrial)
	}
	return dir.EndTrial()
}

// followTrials ends trials that are over, also one that began before the agent did.
func (k *keeper) followTrials(ctx context.Context) {
	var again time.Duration
	for {
		trial, on, err := k.dir.Trial()
		if err != nil {
			k.log.Error("the trial of a config cannot be followed", "error", err)
		}
		var over <-chan time.Time
		if on {
			over = time.After(max(trial.Left(time.Now()), again))
		}
		again = 0
		select {
		case <-ctx.Done():
			return
		case <-k.trials:
		case <-over:
			if err := k.endTrial(ctx); err != nil {
				k.log.Error("the config before the trial could not be brought back", "error", err, "retry_in", trialRetry.String())
				again = trialRetry
			}
		}
	}
}

// endTrial brings back what was before, if the trial is over and goes on still. The
// error is one of the config: the loop tries again what was a matter of the kernel.
func (k *keeper) endTrial(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	trial, on, err := k.dir.Trial()
	if !on || err != nil || trial.Left(time.Now()) > 0 {
		return err
	}
	k.log.Warn("the config on trial was not confirmed; the one before comes back", "revision", trial.Before)
	_, _, _, err = k.restore(ctx, "try-ended", trial.Before)
	if _, on, _ := k.dir.Trial(); !on {
		return nil
	}
	return err
}

// rollback puts a config of the history in force again; 0 stands for the one before
// the newest, or before the trial that goes on.
func (k *keeper) rollback(ctx context.Context, number int) (*reconciler.Pass, string, statedir.Revision, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	number, err := previous(k.dir, number)
	if err != nil {
		return nil, "", statedir.Revision{}, err
	}
	return k.restore(ctx, fmt.Sprintf("rollback-%d", number), number)
}

// previous is the number of the config to roll back to.
func previous(dir *statedir.Dir, number int) (int, error) {
	if number != 0 {
		return number, nil
	}
	if trial, on, err := dir.Trial(); on || err != nil {
		return trial.Before, err
	}
	all, err := dir.History()
	if err != nil {
		return 0, err
	}
	if len(all) < 2 {
		return 0, fmt.Errorf("%w: there is none before the one in force", statedir.ErrNoRevision)
	}
	return all[1].Number, nil
}

// restore makes a config of the history the one in the file and in force, and ends the
// trial; number 0 is that there was none. k.mu is held.
func (k *keeper) restore(ctx context.Context, how string, number int) (pass *reconciler.Pass, path string, r statedir.Revision, err error) {
	defer k.told()
	if number == 0 {
		if err := errors.Join(k.file.Remove(), k.dir.EndTrial()); err != nil {
			return nil, "", r, err
		}
		pass, err = k.loop.Down(ctx)
		return pass, "", r, err
	}
	if _, err := check(k.dir, number); err != nil {
		return nil, "", r, err
	}
	r, data, path, err := putBack(k.dir, k.file, number)
	if err != nil {
		return nil, path, r, err
	}
	pass, err = k.enforce(ctx, how, path, data)
	return pass, path, r, err
}

// overdue brings the file back to what was before a trial that ended while no agent
// ran, so that the agent starts with that.
func (k *keeper) overdue() {
	trial, on, err := k.dir.Trial()
	if !on || err != nil || trial.Left(time.Now()) > 0 {
		return
	}
	k.log.Warn("the config on trial was not confirmed in time; the one before comes back", "revision", trial.Before)
	if err := undo(k.dir, k.file, trial); err != nil {
		k.log.Error("the config before the trial could not be brought back", "error", err)
	}
}

// undo makes the config before a trial the one in the file, and ends the trial.
func undo(dir *statedir.Dir, file configfile.File, trial statedir.Trial) error {
	if trial.Before == 0 {
		return errors.Join(file.Remove(), dir.EndTrial())
	}
	_, _, _, err := putBack(dir, file, trial.Before)
	return err
}

// putBack makes a config of the history the one in the file, and ends the trial: from
// then on the file has it, should the process end.
func putBack(dir *statedir.Dir, file configfile.File, number int) (r statedir.Revision, data []byte, path string, err error) {
	if r, data, err = dir.Read(number); err != nil {
		return r, nil, "", err
	}
	if path, err = file.Store(r.Path, data); err != nil {
		return r, nil, path, err
	}
	return r, data, path, dir.EndTrial()
}

// check tells whether a config of the history can be put in force.
func check(dir *statedir.Dir, number int) (*schema.Config, error) {
	r, data, err := dir.Read(number)
	if err != nil {
		return nil, err
	}
	return loadConfig(r.Path, data)
}
