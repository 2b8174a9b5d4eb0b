package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/schema"
)

// notEnded is logged where the end of a trial fails. It is repeated.
const notEnded = "config before the trial not restored"

// state reads what the disk says.
func (m *configManager) state() (s trial.State, err error) {
	record, on, err := m.dir.Trial()
	if err != nil {
		return s, err
	}
	all, err := m.dir.History()
	if err != nil {
		return s, err
	}
	if s.Down, err = m.dir.IsDown(); err != nil {
		return s, err
	}
	s.Down = s.Down || m.down
	for _, r := range all {
		s.Newest = max(s.Newest, r.Number)
		switch {
		case !r.Confirmed:
		case s.Confirmed == 0:
			s.Confirmed = r.Number
		case s.Previous == 0:
			s.Previous = r.Number
		}
	}
	if !on {
		return s, nil
	}
	if record == (trial.Record{}) {
		m.log.Error("record of the trial damaged: the trial is over")
		record.Before = s.Confirmed
	}
	s.Trial = &record
	return s, nil
}

// moment returns the time by which trials end.
func (m *configManager) moment() trial.Moment {
	if m.now != nil {
		return m.now()
	}
	return machineNow()
}

// step carries out what an event does. The caller holds the locks.
func (m *configManager) step(ctx context.Context, e trial.Event, c *change) (o outcome, err error) {
	s, err := m.state()
	if err != nil {
		return o, err
	}
	return m.stepFrom(ctx, s, e, c)
}

func (m *configManager) stepFrom(ctx context.Context, s trial.State, e trial.Event, c *change) (o outcome, err error) {
	effects, err := trial.Step(s, e, m.moment())
	switch {
	case errors.Is(err, trial.ErrOther):
		return o, fmt.Errorf("%s %w", m.file.Path(), err)
	case errors.Is(err, trial.ErrNoPrevious):
		return o, fmt.Errorf("%w: %w", statedir.ErrNoRevision, err)
	case err != nil:
		return o, err
	}
	return m.perform(ctx, effects, c)
}

// perform carries out effects. After one that failed it does only those that are done anyway.
func (m *configManager) perform(ctx context.Context, effects []trial.Effect, c *change) (o outcome, err error) {
	defer m.changedNow()
	var failures []error
	var inPart error
	for _, e := range effects {
		if o.failed && !e.Anyway {
			continue
		}
		err := m.do(ctx, e, c, &o)
		var partial *reconciler.ApplyError
		switch {
		case err == nil:
		case errors.As(err, &partial) && (!e.Whole || m.repeats(e)):
			inPart = err
		default:
			failures, o.failed = append(failures, err), true
		}
	}
	return o, errors.Join(append(failures, inPart)...)
}

// repeats reports whether an effect that was carried out in part is repeated until it is done: an
// agent does so, unless the mesh is taken down.
func (m *configManager) repeats(e trial.Effect) bool {
	return e.Do != trial.TakeDown && m.runner.Running() == nil
}

// do carries out one effect.
func (m *configManager) do(ctx context.Context, e trial.Effect, c *change, o *outcome) (err error) {
	switch e.Do {
	case trial.EnforceChange:
		o.enforced = true
		o.pass, err = m.enforce(ctx, e, o.path, c.data)
	case trial.EnforceFile:
		o.pass, err = m.enforceFile(ctx, e)
	case trial.EnforceRevision:
		var data []byte
		if o.revision, data, err = m.dir.Read(e.Revision); err == nil {
			o.pass, err = m.enforce(ctx, e, m.file.PathFor(o.revision.Path), data)
		}
	case trial.TakeDown:
		o.pass, err = m.runner.Down(ctx)
		if e.Whole && (errors.Is(err, reconciler.ErrNoConfig) || errors.Is(err, fs.ErrNotExist)) {
			return nil // there is no mesh
		}
	default:
		return m.doOnDisk(e, c, o)
	}
	return err
}

// doOnDisk carries out an effect that is one on the disk alone.
func (m *configManager) doOnDisk(e trial.Effect, c *change, o *outcome) (err error) {
	switch e.Do {
	case trial.Write:
		o.trial = e.Record
		return m.dir.BeginTrial(e.Record)
	case trial.Erase:
		return m.dir.EndTrial()
	case trial.StoreChange:
		o.path, err = m.file.Store(c.name, c.data)
	case trial.StoreRevision:
		var data []byte
		if o.revision, data, err = m.dir.Read(e.Revision); err == nil {
			o.path, err = m.storeSeen(o.revision.Path, data)
		}
	case trial.RemoveFile:
		return m.removeFile()
	case trial.Confirm:
		return m.dir.Confirm()
	case trial.NoteDown:
		m.noteDown(true)
	default:
		return fmt.Errorf("the effect %d is not known", e.Do)
	}
	return err
}

// storeSeen makes a config the one in the file. The file watch does not put it in force.
func (m *configManager) storeSeen(name string, data []byte) (path string, err error) {
	if path, err = m.file.Restore(name, data); err == nil {
		m.seen = contentOf(path, data)
	}
	return path, err
}

// removeFile removes the config in the file. An empty file that cannot be removed is as good as
// none.
func (m *configManager) removeFile() error {
	err := m.file.Remove()
	if err == nil {
		return nil
	}
	if _, data, readErr := m.file.Read(); readErr == nil && len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return err
}

// noteDown notes whether a command took the mesh down. A note that is missing does not keep the
// mesh up, nor down.
func (m *configManager) noteDown(down bool) {
	m.down = down
	if err := m.dir.SetDown(down); err != nil {
		m.log.Warn("not noted whether the mesh is down", "down", down, "error", err)
	}
}

// enforceFile puts the config in the file in force.
func (m *configManager) enforceFile(ctx context.Context, e trial.Effect) (*reconciler.Pass, error) {
	name, data, err := m.file.Read()
	if err != nil {
		m.logFault(err)
		return nil, &configFault{err}
	}
	if m.evaluated.content != contentOf(name, data) {
		return nil, errFileChanged
	}
	return m.enforce(ctx, e, name, data)
}

// enforce puts a valid config in force and into the history.
func (m *configManager) enforce(ctx context.Context, e trial.Effect, name string, data []byte) (*reconciler.Pass, error) {
	m.seen, m.staged = contentOf(name, data), content{}
	config, err := m.load(ctx, name, data)
	m.logFault(err)
	if err != nil {
		return nil, &configFault{err}
	}
	return m.putInForce(ctx, m.seen, config, func() error {
		_, err := m.dir.Keep(time.Now(), e.How, name, data, e.Confirmed)
		if err != nil && e.Confirmed && m.runner.Running() == nil {
			// An agent knows its config without the history.
			m.log.Error("config not written to the history", "error", err)
			return nil
		}
		return err
	})
}

// putInForce calls keep and then puts a config in force. The mesh is no longer down by a command.
func (m *configManager) putInForce(ctx context.Context, text content, config *schema.Config, keep func() error) (*reconciler.Pass, error) {
	pass, err := m.runner.SetConfig(ctx, config, keep)
	if m.takes != nil && m.takes(config) {
		m.enforced.Store(&text)
	}
	if pass != nil || err == nil {
		m.noteDown(false)
	}
	return pass, err
}
