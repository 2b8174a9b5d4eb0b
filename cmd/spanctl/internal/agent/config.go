package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// configManager decides which config is in force: the one in the file if it is valid,
// else the last that was. A staged config waits in the file for the agent's next start or
// a reload. A config on trial is replaced by the one before unless it is confirmed. What happens
// when is decided by package trial.
type configManager struct {
	file   configfile.File
	dir    *statedir.Dir
	runner Runner
	log    *slog.Logger
	// trialBegan is called when a trial may have begun; follow must then be called.
	trialBegan func(trial.Record)
	// recordEvent records an event; nil where nobody keeps them.
	recordEvent func(ctx context.Context, severity resource.Severity, reason event.Reason, message string)
	// now returns the time by which trials end; nil for now of the machine.
	now func() trial.Moment

	// takes reports whether the loop keeps a config in force; nil where no agent runs.
	takes func(*schema.Config) bool
	// news has an element while what is known of the config may have changed; nil where nobody
	// follows it.
	news chan struct{}
	// enforced is the content that is in force in this process; nil for none.
	enforced atomic.Pointer[content]

	// eval makes configs out of their texts.
	eval loader

	// mu is held for a whole change of the config, and never while the config in the file is
	// evaluated.
	mu sync.Mutex
	// evaluated is the file that was evaluated for the change under way; nil where it needs none.
	evaluated *evaluatedFile
	// seen is the content that was handled last.
	seen content
	// handled is the content that changed handled last.
	handled content
	// staged is the content that changed ignores.
	staged content
	// before is the config before the last trial that began in this process: its return depends on
	// nothing that may fail then.
	before loadedConfig
	// down is set while the mesh is down since a command took it down.
	down bool
	// loggedFault is the text of the last fault that was logged; "" after a good config.
	loggedFault string
}

// loader makes configs out of their texts: with the secrets that they have elsewhere, or without.
type loader interface {
	load(ctx context.Context, name string, data []byte) (*schema.Config, error)
	loadUnread(ctx context.Context, name string, data []byte) (*schema.Config, error)
}

// content identifies the content of a config file.
type content [sha256.Size]byte

// loadedConfig is a config that was made out of a text; the zero value is none.
type loadedConfig struct {
	content content
	config  *schema.Config
}

func contentOf(name string, data []byte) content {
	return sha256.Sum256(append([]byte(name+"\x00"), data...))
}

// lockPatience is how long a command waits for another one that works with the state directory.
const lockPatience = 30 * time.Second

// locked calls do while neither this process nor another changes the config.
func (m *configManager) locked(ctx context.Context, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lockedDir(ctx, do)
}

// lockedDir is locked for a caller that holds mu.
func (m *configManager) lockedDir(ctx context.Context, do func() error) (err error) {
	if err := m.dir.LockWithin(ctx, lockPatience); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.dir.Unlock()) }()
	if _, err := m.step(ctx, trial.Tick{}, nil); err != nil {
		m.log.Error(notEnded, "error", err)
	}
	return do()
}

// outcome is what a change of the config did.
type outcome struct {
	pass *reconciler.Pass
	// path is the file that the config is stored in.
	path string
	// revision is what is in force again after a rollback.
	revision statedir.Revision
	// trial is set for a config on trial.
	trial trial.Record
	// enforced is set if a change may be in force.
	enforced bool
	// failed is set if anything but a pass that was carried out in part failed.
	failed bool
}

// start puts the config in the file in force, or the last good one.
func (m *configManager) start(ctx context.Context) {
	_ = m.withFile(ctx, func() error { return m.startWith(ctx) })
}

// startWith is start with the config in the file evaluated. Its error is errFileChanged.
func (m *configManager) startWith(ctx context.Context) error {
	s, err := m.state()
	if err != nil {
		m.log.Error("state of the config unreadable", "error", err)
		return nil
	}
	if s.Over(m.moment()) {
		m.log.Warn(notConfirmed)
	}
	o, err := m.stepFrom(ctx, s, trial.Start{}, nil)
	if errors.Is(err, errFileChanged) {
		return err
	}
	if o.trial != (trial.Record{}) && o.failed { // what is left of the trial cannot be written down
		_, err = m.step(ctx, trial.End{}, nil)
	}
	var fault *configFault
	if !errors.As(err, &fault) {
		return nil // the loop logs the error of a pass, and repeats it
	}
	s, err = m.state()
	good := s.InForce(m.moment())
	if err == nil && good == 0 {
		return nil
	}
	last, data, readErr := m.dir.Read(good)
	if err := cmp.Or(err, readErr); err != nil {
		m.log.Error("last good config unreadable", "error", err)
		return nil
	}
	config, err := m.eval.load(ctx, last.Path, data)
	if err != nil {
		m.log.Error("last good config not valid", "file", last.Path, "error", err)
		return nil
	}
	m.log.Warn("starting with the last good config", "file", last.Path)
	// The loop logs its error.
	_, _ = m.putInForce(ctx, contentOf(m.file.PathFor(last.Path), data), config, func() error { return nil })
	return nil
}

// configFault is the error of a config that could not be read or is not valid.
type configFault struct{ error }

func (f *configFault) Unwrap() error { return f.error }

// changed puts the file in force after it changed, unless its content is staged. Whole reports
// whether what was read is not a part of what is being written.
func (m *configManager) changed(ctx context.Context, whole func() bool) {
	_ = m.withFile(ctx, func() error { // enforce and the loop log other errors
		name, data, err := m.file.Read()
		if err != nil {
			m.seen = content{} // the next content counts as new
			m.logFault(err)
			return nil
		}
		content := contentOf(name, data)
		switch content {
		case m.seen:
		case m.staged:
			m.log.Info("config staged for the next start or `spanctl reload`", "file", name)
			m.seen = m.staged
		case m.evaluated.content:
			if !whole() {
				return nil // it comes again
			}
			m.log.Info("config file changed", "file", name)
			if _, err = m.step(ctx, trial.Edit{}, nil); errors.Is(err, trial.ErrNotEnded) {
				m.log.Error(notEnded, "error", err)
			}
		default:
			return errFileChanged
		}
		m.handled = content
		return err
	})
	m.changedNow()
}

// reload puts the config in the file in force, staged or not.
func (m *configManager) reload(ctx context.Context) (pass *reconciler.Pass, err error) {
	err = m.withFile(ctx, func() error {
		return m.lockedDir(ctx, func() error {
			o, err := m.step(ctx, trial.Reload{}, nil)
			pass = o.pass
			return err
		})
	})
	return pass, err
}

// takeDown takes the mesh down, and ends a trial.
func (m *configManager) takeDown(ctx context.Context) (pass *reconciler.Pass, err error) {
	err = m.locked(ctx, func() error {
		o, err := m.step(ctx, trial.Down{}, nil)
		pass = o.pass
		return err
	})
	return pass, err
}

// change is a config that is to become the one in the file.
type change struct {
	// name's ending is the format of data.
	name string
	data []byte
	// base is the hash of the config in the file that the change was made from; nil for any.
	base []byte
}

// conflictError says that the config in the file is no longer the one that a change was made
// from.
type conflictError struct{ path string }

func (e *conflictError) Error() string {
	return e.path + " was changed meanwhile: make the change again, from what is there now"
}

// checkBase returns a conflictError where the file is not what a change was made from. The caller
// holds the locks.
func (m *configManager) checkBase(base []byte) error {
	if len(base) == 0 {
		return nil
	}
	name, data, err := m.file.Read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now := sha256.Sum256(data); err != nil || !bytes.Equal(now[:], base) {
		return &conflictError{name}
	}
	return nil
}

// apply stores a valid config and puts it in force.
func (m *configManager) apply(ctx context.Context, c change) (o outcome, err error) {
	if _, err := m.eval.load(ctx, c.name, c.data); err != nil {
		return o, err
	}
	err = m.locked(ctx, func() error {
		if err := m.checkBase(c.base); err != nil {
			return err
		}
		o, err = m.step(ctx, trial.Apply{}, &c)
		return err
	})
	return o, err
}

// stage stores a valid config for later. Its secrets are read then.
func (m *configManager) stage(ctx context.Context, c change) (o outcome, err error) {
	if _, err := m.eval.loadUnread(ctx, c.name, c.data); err != nil {
		return o, err
	}
	err = m.locked(ctx, func() error {
		if err := m.checkBase(c.base); err != nil {
			return err
		}
		before := m.staged
		// The file watch must not put it in force.
		m.staged = contentOf(m.file.PathFor(c.name), c.data)
		if o, err = m.step(ctx, trial.Stage{}, &c); err != nil {
			m.staged = before
		}
		return err
	})
	return o, err
}

// rotateKey gives the machine another key pair. With force it does so even if no peer is told.
func (m *configManager) rotateKey(ctx context.Context, force bool) (rotation *statedir.Rotation, pass *reconciler.Pass, err error) {
	err = m.locked(ctx, func() error {
		rotation = m.dir.Rotate()
		pass, err = m.runner.RotateKey(ctx, reconciler.Rotation{Next: rotation.Next, Keep: rotation.Keep, Discard: rotation.Discard, Force: force})
		return err
	})
	return rotation, pass, err
}

// resetIdentity gives the machine another identity.
func (m *configManager) resetIdentity(ctx context.Context) (reset statedir.Reset, pass *reconciler.Pass, err error) {
	// The runner may give up waiting before the identity is replaced.
	replaced := make(chan statedir.Reset, 1)
	err = m.locked(ctx, func() error {
		pass, err = m.runner.ResetIdentity(ctx, func() error {
			done, err := m.dir.ResetIdentity()
			if err == nil {
				m.resetRelay(ctx)
			}
			replaced <- done
			return err
		})
		return err
	})
	select {
	case reset = <-replaced:
	default:
	}
	return reset, pass, err
}
