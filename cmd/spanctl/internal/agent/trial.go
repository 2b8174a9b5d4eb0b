package agent

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
)

// notConfirmed is logged where a trial ends.
const notConfirmed = "config on trial not confirmed; restoring the previous config"

const (
	// trialPoll is how often a trial is looked at: another process may end it, and timers stand
	// still while the machine is suspended.
	trialPoll = 250 * time.Millisecond
	// restoreRetry and restoreRetryMax are the first and the longest pause between attempts to
	// restore the config before a trial.
	restoreRetry    = time.Second
	restoreRetryMax = 5 * time.Second
)

// try puts a config in force until the trial is over.
func (m *configManager) try(ctx context.Context, c change, timeout time.Duration) (o outcome, err error) {
	if _, err := m.eval.load(ctx, c.name, c.data); err != nil {
		return o, err
	}
	err = m.locked(ctx, func() error {
		if err := m.checkBase(c.base); err != nil {
			return err
		}
		s, err := m.state()
		if err != nil {
			return err
		}
		stored := m.stored()
		if s.Other, err = m.holdsOther(stored); err != nil {
			return err
		}
		m.before = m.loadBefore(ctx)
		o, err = m.stepFrom(ctx, s, trial.Try{Timeout: timeout}, &c)
		if o.trial == (trial.Record{}) {
			return err // it has not begun
		}
		if o.failed {
			return errors.Join(err, m.abandon(context.WithoutCancel(ctx), o, stored))
		}
		m.trialBegan(o.trial)
		m.log.Info("config on trial", "for", timeout.String())
		return err
	})
	return o, err
}

// loadBefore returns the config in force, if it can be read.
func (m *configManager) loadBefore(ctx context.Context) loadedConfig {
	revision, data, err := m.dir.InForce()
	if err != nil {
		return loadedConfig{}
	}
	name := m.file.PathFor(revision.Path)
	config, err := m.eval.load(ctx, name, data)
	if err != nil {
		m.log.Warn("config in force cannot be read again; it may not come back after the trial", "error", err)
		return loadedConfig{}
	}
	return loadedConfig{contentOf(name, data), config}
}

// abandon ends a trial that could not begin. What fails is repeated by who follows the trial.
func (m *configManager) abandon(ctx context.Context, o outcome, before storedConfig) error {
	var event trial.Event = trial.Abandon{Same: m.stored() == before}
	if o.enforced {
		event = trial.End{}
	}
	ended, err := m.step(ctx, event, nil)
	if err != nil && (ended.failed || ended.pass == nil) {
		over := o.trial
		over.Left = 0
		m.trialBegan(over)
		return err
	}
	return nil
}

// storedConfig is what the file has.
type storedConfig struct {
	name, text string
	missing    bool
	// fault is why the file cannot be read.
	fault string
}

func (m *configManager) stored() storedConfig {
	name, data, err := m.file.Read()
	stored := storedConfig{name: name, text: string(data), missing: errors.Is(err, fs.ErrNotExist)}
	if err != nil && !stored.missing {
		stored.fault = err.Error()
	}
	return stored
}

// holdsOther reports whether the file has a config that is not in force.
func (m *configManager) holdsOther(stored storedConfig) (bool, error) {
	_, inForce, err := m.dir.InForce()
	switch {
	case err != nil && !errors.Is(err, statedir.ErrNoRevision):
		return false, err
	case stored.fault != "":
		return false, errors.New(stored.fault)
	default:
		return !stored.missing && stored.text != string(inForce), nil
	}
}

// confirm ends the trial. The config stays.
func (m *configManager) confirm(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if _, err := m.step(ctx, trial.Keep{}, nil); err != nil {
			return err
		}
		m.log.Info("config on trial confirmed")
		m.record(ctx, resource.Normal, event.ConfigConfirmed, "the config on trial stays")
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
// config before in force again, and repeats what fails. When ctx ends it returns, and the trial
// goes on.
func (m *configManager) follow(ctx context.Context, record trial.Record, stop <-chan struct{}) trialEnd {
	f := following{record: record}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return trialEnd{err: ctx.Err()}
		case <-stop:
			stop = nil
			f.record.Left = 0 // what fails is repeated although its time is not up
		case <-wait.C:
		}
		over, next := m.look(ctx, &f)
		if over {
			return f.end
		}
		wait.Reset(next)
	}
}

// following is a trial that is followed.
type following struct {
	record   trial.Record
	failures int
	end      trialEnd
}

// look ends a trial whose time is up, and reports whether it is over; else next is when to look
// again.
func (m *configManager) look(ctx context.Context, f *following) (over bool, next time.Duration) {
	now, on, err := m.dir.Trial()
	if err == nil && (!on || !now.Same(f.record)) {
		f.end.confirmed = f.end.pass == nil && m.wasConfirmed(f.record)
		return true, 0
	}
	// A record that cannot be read is no reason to go on after the time.
	if left := f.record.LeftAt(m.moment()); left > 0 {
		return false, min(trialPoll, left)
	}
	var failed bool
	if f.end, failed = m.endTrial(ctx, f.record); !failed {
		return true, 0
	}
	f.failures++
	next = retry.Pause(f.failures, restoreRetry, restoreRetryMax)
	m.log.Error(notEnded, "error", f.end.err, "retry_in", next.String())
	return false, next
}

// endTrial puts the config before a trial in force again, and reports whether that has to be
// repeated.
func (m *configManager) endTrial(ctx context.Context, record trial.Record) (end trialEnd, failed bool) {
	// Not locked, which would end it first.
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.dir.LockWithin(ctx, lockPatience); err != nil {
		return trialEnd{err: err}, true
	}
	defer func() { _ = m.dir.Unlock() }()
	if now, on, err := m.dir.Trial(); err == nil && (!on || !now.Same(record)) {
		return trialEnd{confirmed: m.wasConfirmed(record)}, false
	}
	m.log.Warn(notConfirmed)
	o, err := m.step(ctx, trial.End{}, nil)
	if err == nil {
		m.record(ctx, resource.Warning, event.ConfigRolledBack, "the trial was not confirmed; the config before is in force again")
	}
	return trialEnd{pass: o.pass, err: err}, o.failed || err != nil && o.pass == nil
}

// wasConfirmed reports whether a trial that has ended was confirmed. Where it was ended by
// another config, it was not.
func (m *configManager) wasConfirmed(record trial.Record) bool {
	newest, _, err := m.dir.InForce()
	return err == nil && newest.Number > record.Before && newest.How != "apply" && !strings.HasPrefix(newest.How, "rollback-")
}

// followTrials follows trials until ctx ends: one that began before the agent started,
// and those that began receives.
func (m *configManager) followTrials(ctx context.Context, began <-chan trial.Record) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case record := <-began:
			m.follow(ctx, record, nil) // the loop logs the error of its pass
		case <-wait.C:
			record, on, err := m.dir.Trial()
			switch {
			case err != nil:
				m.log.Error("record of the trial unreadable", "error", err)
				wait.Reset(restoreRetryMax)
			case on:
				m.follow(ctx, record, nil)
			}
		}
	}
}

// rollback puts a config of the history in force again; 0 stands for the config before
// the newest one, or before the current trial.
func (m *configManager) rollback(ctx context.Context, number int) (o outcome, err error) {
	err = m.locked(ctx, func() error {
		if number != 0 {
			revision, data, err := m.dir.Read(number)
			if err != nil {
				return err
			}
			if _, err := m.eval.load(ctx, revision.Path, data); err != nil {
				return err
			}
		}
		o, err = m.step(ctx, trial.Rollback{To: number}, nil)
		return err
	})
	return o, err
}
