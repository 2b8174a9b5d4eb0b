package agent

import (
	"context"
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

// prepare evaluates the config in the file, and keeps what came of it for the next load of the
// same content. It needs no lock: a config that takes long does not hold up a confirmation or a
// rollback. Its error is that of ctx.
func (m *configManager) prepare(ctx context.Context) error {
	if name, data, err := m.file.Read(); err == nil {
		_, _ = m.eval.load(ctx, name, data) // the next load has the error too
	}
	return ctx.Err()
}

// statusPatience is how long a status waits for the evaluation of the config in the file.
const statusPatience = time.Second
