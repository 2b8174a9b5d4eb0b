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
	"github.com/spanmesh/span/reconciler/retry"
)

// The bounds of a trial.
const (
	trialAtLeast = time.Second
	trialAtMost  = 24 * time.Hour
	// trialPoll is how often the record of a trial is read: another process may end it.
	trialPoll = 250 * time.Millisecond
	// restoreRetry and restoreRetryMax are the first and the longest pause between
	// attempts to restore the config before a trial.
	restoreRetry    = time.Second
	restoreRetryMax = 5 * time.Second
)

var (
	errNoTrial = errors.New("no config is on trial")
	errOnTrial = errors.New("a config is on trial: `spanctl confirm` keeps it, `spanctl rollback` ends it")
)

// try puts a config in force until the trial is over. The trial is on disk before anything
// else changes.
func (m *configManager) try(ctx context.Context, c change, timeout time.Duration) (o outcome, err error) {
	if _, err := m.eval.load(ctx, c.name, c.data); err != nil {
		return o, err
	}
	err = m.locked(ctx, func() error {
		if err := m.checkBase(c.base); err != nil {
			return err
		}
		trial, err := m.beginTrial(timeout)
		if err != nil {
			return err
		}
		o, err = m.store(ctx, "try", c.name, c.data)
		o.trial = trial
		var partial *reconciler.ApplyError
		if err != nil && !errors.As(err, &partial) {
			_, restoreErr := m.restore(context.WithoutCancel(ctx), "try-failed", trial.Before)
			return errors.Join(err, restoreErr)
		}
		m.trialBegan(trial)
		m.log.Info("config on trial", "until", trial.Until.Format(time.RFC3339))
		return err
	})
	return o, err
}

// checkNoTrial returns errOnTrial where a config is on trial.
func (m *configManager) checkNoTrial() error {
	_, on, err := m.dir.Trial()
	if err == nil && on {
		err = errOnTrial
	}
	return err
}

// beginTrial records a trial.
func (m *configManager) beginTrial(timeout time.Duration) (statedir.Trial, error) {
	if timeout < trialAtLeast || timeout > trialAtMost {
		return statedir.Trial{}, fmt.Errorf("a trial of %v: want %v to %v", timeout, trialAtLeast, trialAtMost)
	}
	if err := m.checkNoTrial(); err != nil {
		return statedir.Trial{}, err
	}
	before, known, err := m.dir.Read(0)
	if err != nil && !errors.Is(err, statedir.ErrNoRevision) {
		return statedir.Trial{}, err
	}
	_, now, err := m.file.Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return statedir.Trial{}, err
	case string(now) != string(known):
		return statedir.Trial{}, fmt.Errorf("%s holds a config that is not in force, and would be lost: `spanctl reload` it first", m.file.Path())
	}
	trial := statedir.Trial{Before: before.Number, Until: time.Now().Add(timeout).Round(0), Timeout: timeout}
	return trial, m.dir.BeginTrial(trial)
}

// confirm ends the trial. The config stays.
func (m *configManager) confirm(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if _, on, err := m.dir.Trial(); !on || err != nil {
			return errors.Join(err, errNoTrial)
		}
		if err := m.dir.EndTrial(); err != nil {
			return err
		}
		m.log.Info("config on trial confirmed")
		return nil
	})
}

// trialEnd is how a trial ended.
type trialEnd struct {
	// confirmed reports whether the config stays.
	confirmed bool
	// pass put the config before in force again, if follow did that.
	pass *reconciler.Pass
	// err is the error of that pass.
	err error
}

// follow waits until a trial is over. After its time, or when stop is closed, it puts the
// config before in force again. When ctx ends it returns, and the trial goes on.
func (m *configManager) follow(ctx context.Context, trial statedir.Trial, stop <-chan struct{}) trialEnd {
	over := time.NewTimer(trial.Left(time.Now()))
	defer over.Stop()
	poll := time.NewTicker(trialPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return trialEnd{err: ctx.Err()}
		case <-poll.C:
			if on, err := m.isOn(trial); err == nil && !on {
				return trialEnd{confirmed: !m.isStored(trial.Before)}
			}
			continue
		case <-over.C:
		case <-stop:
		}
		return m.endTrial(ctx, trial)
	}
}

// endTrial puts the config before a trial in force again, unless the trial was ended
// otherwise. It repeats what fails, until ctx ends.
func (m *configManager) endTrial(ctx context.Context, trial statedir.Trial) (end trialEnd) {
	backoff := retry.New(restoreRetry, restoreRetryMax)
	err := retry.Do(ctx, backoff, func(err error, retryIn time.Duration) {
		m.log.Error("previous config not restored", "error", err, "retry_in", retryIn.String())
	}, func(ctx context.Context) error {
		if on, err := m.isOn(trial); err != nil {
			return err
		} else if !on {
			end.confirmed = end.pass == nil && !m.isStored(trial.Before)
			return nil
		}
		return m.locked(ctx, func() error {
			m.log.Warn("config on trial not confirmed; restoring the previous config", "revision", trial.Before)
			o, err := m.restore(ctx, "try-ended", trial.Before)
			end.pass = o.pass
			if on, _ := m.isOn(trial); !on && err != nil {
				return retry.Permanent(err) // the file has the config before; the next pass applies it
			}
			return err
		})
	})
	end.err = err
	return end
}

// isOn reports whether a trial is still on.
func (m *configManager) isOn(trial statedir.Trial) (bool, error) {
	now, on, err := m.dir.Trial()
	return on && now.Equal(trial), err
}

// isStored reports whether the file holds a revision; 0 stands for no config.
func (m *configManager) isStored(number int) bool {
	_, now, err := m.file.Read()
	if number == 0 {
		return errors.Is(err, fs.ErrNotExist)
	}
	_, before, readErr := m.dir.Read(number)
	return err == nil && readErr == nil && string(now) == string(before)
}

// followTrials follows trials until ctx ends: one that began before the agent started,
// and the new one each time that began receives.
func (m *configManager) followTrials(ctx context.Context, began <-chan struct{}) {
	for ctx.Err() == nil {
		trial, on, err := m.dir.Trial()
		if err != nil {
			m.log.Error("record of the trial unreadable", "error", err)
		}
		if on {
			m.follow(ctx, trial, nil) // the loop logs the error of its pass
			continue
		}
		select {
		case <-ctx.Done():
		case <-began:
		}
	}
}

// rollback puts a config of the history in force again; 0 stands for the config before
// the newest one, or before the current trial.
func (m *configManager) rollback(ctx context.Context, number int) (o outcome, err error) {
	err = m.locked(ctx, func() error {
		number, err := m.previous(number)
		if err != nil {
			return err
		}
		o, err = m.restore(ctx, fmt.Sprintf("rollback-%d", number), number)
		return err
	})
	return o, err
}

// previous returns the revision to roll back to.
func (m *configManager) previous(number int) (int, error) {
	if number != 0 {
		return number, nil
	}
	if trial, on, err := m.dir.Trial(); on || err != nil {
		return trial.Before, err
	}
	all, err := m.dir.History()
	if err != nil {
		return 0, err
	}
	if len(all) < 2 {
		return 0, fmt.Errorf("%w: there is none before the one in force", statedir.ErrNoRevision)
	}
	return all[1].Number, nil
}

// restore makes a revision the config in the file and in force, and ends the trial.
// Number 0 stands for no config: the mesh is taken down. The caller holds the locks.
func (m *configManager) restore(ctx context.Context, how string, number int) (o outcome, err error) {
	if number == 0 {
		if err := restoreFile(m.dir, m.file, 0); err != nil {
			return o, err
		}
		o.pass, err = m.runner.Down(ctx)
		return o, err
	}
	revision, data, err := m.dir.Read(number)
	if err != nil {
		return o, err
	}
	if _, err := m.eval.load(ctx, revision.Path, data); err != nil {
		return o, err
	}
	if err := restoreFile(m.dir, m.file, number); err != nil {
		return o, err
	}
	o.revision, o.path = revision, m.file.PathFor(revision.Path)
	o.pass, err = m.enforce(ctx, how, o.path, data)
	return o, err
}

// restoreFile makes a revision the config in the file, or removes the file if number is 0,
// and ends the trial.
func restoreFile(dir *statedir.Dir, file configfile.File, number int) error {
	if number == 0 {
		return errors.Join(file.Remove(), dir.EndTrial())
	}
	revision, data, err := dir.Read(number)
	if err != nil {
		return err
	}
	if _, err := file.Restore(revision.Path, data); err != nil {
		return err
	}
	return dir.EndTrial()
}

// endOverdueTrial restores the file where a trial ended while no agent ran, so that the
// agent starts with the config before.
func (m *configManager) endOverdueTrial() {
	trial, on, err := m.dir.Trial()
	if !on || err != nil || trial.Left(time.Now()) > 0 {
		return
	}
	m.log.Warn("config on trial not confirmed; restoring the previous config", "revision", trial.Before)
	if err := restoreFile(m.dir, m.file, trial.Before); err != nil {
		m.log.Error("previous config not restored", "error", err)
	}
}
