package agent

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/schema"
)

// storedFile is what was read of the config in the file, and what came of it.
type storedFile struct {
	name string
	data []byte
	// readErr is why it could not be read, invalid why it is no valid config.
	readErr, invalid error
}

// describe returns how the config in the file is.
func (m *configManager) describe(f storedFile) health.Config {
	c := health.Config{Path: f.name}
	var problems schema.Problems
	switch {
	case errors.Is(f.readErr, fs.ErrNotExist):
		c.Missing = true
	case f.readErr != nil:
		c.Problems = []string{f.readErr.Error()}
	case errors.As(f.invalid, &problems):
		for _, p := range problems {
			c.Problems = append(c.Problems, p.Error())
		}
	case f.invalid != nil:
		c.Problems = []string{f.invalid.Error()}
	default:
		c.Staged = !m.isInForce(f)
	}
	return c
}

// isInForce reports whether a config is in force: in this process, or, where no agent runs, by the
// history.
func (m *configManager) isInForce(f storedFile) bool {
	if content := m.enforced.Load(); content != nil {
		return *content == contentOf(f.name, f.data)
	}
	_, inForce, err := m.dir.InForce()
	return err == nil && string(inForce) == string(f.data)
}

// faultText says why the config in the file is not in force; "" if it is. It waits for patience
// for an evaluation.
func (m *configManager) faultText(ctx context.Context, patience time.Duration) string {
	within, stop := context.WithTimeout(ctx, patience)
	defer stop()
	var f storedFile
	if f.name, f.data, f.readErr = m.file.Read(); f.readErr == nil {
		_, f.invalid = m.eval.load(within, f.name, f.data)
	}
	switch {
	case f.invalid != nil && ctx.Err() != nil:
		return ctx.Err().Error()
	case errors.Is(f.invalid, context.DeadlineExceeded):
		return m.file.Path() + " is still being evaluated"
	}
	c := m.describe(f)
	return c.Fault()
}

// logFault logs why the file is not in force, once for the same reason.
func (m *configManager) logFault(err error) {
	before := m.loggedFault
	m.loggedFault = ""
	if err == nil {
		return
	}
	m.loggedFault = err.Error()
	if before == m.loggedFault {
		return
	}
	var problems schema.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			m.log.Error("config file not valid; the config in force stays", "problem", p.Error())
		}
	case errors.Is(err, fs.ErrNotExist):
		m.log.Warn("no config file; the config in force, if any, stays", "file", m.file.Path())
	default:
		m.log.Error("config file unreadable; the config in force stays", "error", err)
	}
}
