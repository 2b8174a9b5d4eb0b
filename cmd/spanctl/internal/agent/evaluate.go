package agent

import (
	"context"
	"errors"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// evaluator makes configs out of their texts. Its methods may be called concurrently; its zero
// value is ready.
type evaluator struct{ evaluate.Evaluator }

// load makes a config, and reads the secrets that it has elsewhere.
func (e *evaluator) load(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	return e.evaluate(ctx, load.Input{Sources: []schema.Source{{Name: name, Data: data}}, ReadSecret: ReadSecret})
}

// loadUnread makes a config whose secrets elsewhere are not read.
func (e *evaluator) loadUnread(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	return e.evaluate(ctx, load.Input{Sources: []schema.Source{{Name: name, Data: data}}})
}

func (e *evaluator) evaluate(ctx context.Context, in load.Input) (*schema.Config, error) {
	result, err := e.Evaluate(ctx, evaluate.Request{Input: in})
	if err != nil {
		return nil, err
	}
	return result.Config, nil
}

// evaluatedFile is what came of the config in the file; the zero value where it could not be read.
type evaluatedFile struct {
	loadedConfig
	// err is why it is not valid.
	err error
}

// errFileChanged says that the config in the file is no longer the one that was evaluated.
var errFileChanged = errors.New("the config file changed meanwhile")

// withFile evaluates the config in the file and then calls do with mu held, again while do returns
// errFileChanged. A config that takes long thus does not hold up a confirmation or a rollback, nor
// the end of a trial.
func (m *configManager) withFile(ctx context.Context, do func() error) error {
	for {
		var file evaluatedFile
		if name, data, err := m.file.Read(); err == nil {
			file.content = contentOf(name, data)
			file.config, file.err = m.eval.load(ctx, name, data)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := m.with(&file, do); !errors.Is(err, errFileChanged) {
			return err
		}
	}
}

// with calls do with mu held.
func (m *configManager) with(file *evaluatedFile, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evaluated = file
	defer func() { m.evaluated = nil }()
	return do()
}

// load makes a config, or returns what was made of it for the change under way. One from before a
// trial that cannot be made again, or not soon, is as it was.
func (m *configManager) load(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	content := contentOf(name, data)
	hasBefore := m.before.config != nil && m.before.content == content
	if m.evaluated != nil && m.evaluated.content == content && (m.evaluated.err == nil || !hasBefore) {
		return m.evaluated.config, m.evaluated.err
	}
	if !hasBefore {
		return m.eval.load(ctx, name, data)
	}
	within, stop := context.WithTimeout(ctx, beforePatience)
	defer stop()
	config, err := m.eval.load(within, name, data)
	if err != nil {
		m.log.Warn("config before the trial cannot be read again; using it as it was", "error", err)
		return m.before.config, nil
	}
	return config, nil
}

// beforePatience is how long the end of a trial waits for the evaluation of the config before it,
// such as while others take all the time of the machine.
const beforePatience = time.Second

const (
	// statusPatience is how long a status waits for the evaluation of the config in the file.
	statusPatience = time.Second
	// diffPatience is how long a diff does: longer than any evaluation is let, since whether the
	// file is in force is a part of its answer.
	diffPatience = time.Minute
)
