package evaluate

import (
	"context"
	"crypto/rand"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/generate"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/talos"
)

// kind is what a child makes of the sources of a request.
type kind int

const (
	// kindConfig is a machine config.
	kindConfig kind = iota
	// kindTalos is a machine config out of the only source, which is a Talos config.
	kindTalos
	// kindSecrets are the ID and the secret of a cluster in the only source.
	kindSecrets
	// kindFormat is the format of the only source.
	kindFormat
)

// TalosOptions are the talos.Options of Evaluator.Talos.
type TalosOptions struct {
	// Name and Enable are those of talos.Options.
	Name   string
	Enable bool
	// NewSecrets makes a new cluster ID and secret, for a file that has neither and needs them.
	NewSecrets bool
}

// identity is a generate.Secrets on the wire.
type identity struct{ ID, Secret string }

// Talos makes a machine config out of a Talos config. Its errors are those of Evaluate.
func (e *Evaluator) Talos(ctx context.Context, file schema.Source, o TalosOptions) (*talos.Result, error) {
	r := only(kindTalos, file)
	r.talos = o
	a, err := e.answer(ctx, r)
	if err != nil {
		return nil, err
	}
	return a.Talos, nil
}

// Secrets returns the ID and the secret in a file that generate.EncodeSecrets wrote, or in a machine
// config. Its errors are those of Evaluate.
func (e *Evaluator) Secrets(ctx context.Context, file schema.Source) (generate.Secrets, error) {
	a, err := e.answer(ctx, only(kindSecrets, file))
	if err != nil {
		return generate.Secrets{}, err
	}
	return generate.Secrets{ID: a.Identity.ID, Secret: schema.SecretText(a.Identity.Secret)}, nil
}

// Format returns the format of a text, whose name has no ending that tells it. Its errors are those
// of Evaluate.
func (e *Evaluator) Format(ctx context.Context, file schema.Source) (schema.Format, error) {
	a, err := e.answer(ctx, only(kindFormat, file))
	if err != nil {
		return 0, err
	}
	return a.Format, nil
}

// only returns a request with one source.
func only(k kind, file schema.Source) Request {
	if file.Data == nil {
		file.Data = []byte{}
	}
	return Request{Input: load.Input{Sources: []schema.Source{file}}, kind: k}
}

// answer makes what the request asks for.
func (r Request) answer() answer {
	switch r.kind {
	case kindTalos:
		o := talos.Options{Name: r.talos.Name, Enable: r.talos.Enable}
		if r.talos.NewSecrets {
			o.NewSecrets = rand.Reader
		}
		result, err := talos.Import(r.Sources[0], o)
		if err != nil {
			return answerWith(err)
		}
		return answer{Talos: &result}
	case kindSecrets:
		secrets, err := generate.DecodeSecrets(r.Sources[0].Name, r.Sources[0].Data)
		if err != nil {
			return answerWith(err)
		}
		return answer{Identity: &identity{secrets.ID, secrets.Secret.Reveal()}}
	case kindFormat:
		return answer{Format: sniff(r.Sources[0].Data)}
	default:
		return answerOf(r.evaluate())
	}
}
