package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spanmesh/span/schema"
)

// fault returns why the config in the file is not in force; nil if it is.
func (m *configManager) fault(ctx context.Context) error {
	name, data, err := m.file.Read()
	if err != nil {
		return err
	}
	if _, err := m.eval.load(ctx, name, data); err != nil {
		return err
	}
	_, inForce, err := m.dir.InForce()
	if err == nil && string(inForce) != string(data) {
		return fmt.Errorf("%s holds a config that is not in force: `spanctl reload` puts it in force", name)
	}
	return nil
}

// faultText returns the text of fault; "" if there is none. It waits for patience for an
// evaluation.
func (m *configManager) faultText(ctx context.Context, patience time.Duration) string {
	within, stop := context.WithTimeout(ctx, patience)
	defer stop()
	err := m.fault(within)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return m.file.Path() + " is still being evaluated"
	default:
		return err.Error()
	}
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
