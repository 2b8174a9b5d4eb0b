package evaluate

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/talos"
)

// Request is what makes up a config.
type Request struct {
	load.Input
	// Patches are applied to the sources. A single file may be valid only with them.
	Patches []schema.Source
	// kind is what is made of the sources.
	kind kind
	// talos are the options of kindTalos.
	talos TalosOptions
}

// Result is a complete machine config.
type Result struct {
	*load.Evaluated
	// Rewritten is set if patches made a text that lost its comments.
	Rewritten bool
}

// request is a Request on the wire.
type request struct {
	Kind    kind
	Talos   TalosOptions
	Input   load.Input
	Sources []file
	Patches []file
	Limits  Limits
}

// file is a schema.Source on the wire, where an empty file and a directory would be the same.
type file struct {
	Source  schema.Source
	HasData bool
}

func filesOf(sources []schema.Source) (files []file) {
	for _, one := range sources {
		files = append(files, file{one, one.Data != nil})
	}
	return files
}

func sourcesOf(files []file) (sources []schema.Source) {
	for _, one := range files {
		if one.HasData && one.Source.Data == nil {
			one.Source.Data = []byte{}
		}
		sources = append(sources, one.Source)
	}
	return sources
}

func (r Request) write(w io.Writer, l Limits) error {
	wire := request{Kind: r.kind, Talos: r.talos, Input: r.Input, Sources: filesOf(r.Sources), Patches: filesOf(r.Patches), Limits: l}
	wire.Input.Sources, wire.Input.ReadSecret = nil, nil
	return gob.NewEncoder(w).Encode(wire)
}

func readRequest(r io.Reader) (Request, Limits, error) {
	var wire request
	err := gob.NewDecoder(r).Decode(&wire)
	wire.Input.Sources = sourcesOf(wire.Sources)
	return Request{Input: wire.Input, Patches: sourcesOf(wire.Patches), kind: wire.Kind, talos: wire.Talos}, wire.Limits, err
}

// answer is what the child says. One of Config, Talos, Identity, Format, Problems, Fault, Panic and
// Exhausted is set.
type answer struct {
	// Talos, Identity and Format are the results of their kinds of requests.
	Talos    *talos.Result
	Identity *identity
	Format   schema.Format
	// Config is the config as JSON, without the texts of its secrets.
	Config []byte
	// Secrets are the secrets of the config, in the order of Config.Secrets.
	Secrets []secret
	// Elsewhere, Foreign and Source are those of a load.Evaluated.
	Elsewhere schema.Problems
	Foreign   bool
	Source    file
	Rewritten bool
	// Problems are the faults of the config.
	Problems schema.Problems
	// Fault is the text of another error.
	Fault string
	// Panic is the function that panicked.
	Panic string
	// Exhausted is the limit that the child met.
	Exhausted limit
}

// secret is a schema.Secret on the wire.
type secret struct {
	Text string
	From schema.SecretSource
}

// answerWith returns the answer that has an error.
func answerWith(err error) answer {
	var problems schema.Problems
	if errors.As(err, &problems) {
		return answer{Problems: problems}
	}
	return answer{Fault: err.Error()}
}

// err returns the error that an answer has.
func (a answer) err() error {
	switch {
	case a.Problems != nil:
		return a.Problems
	case a.Fault != "":
		return errors.New(a.Fault)
	default:
		return nil
	}
}

func answerOf(result *Result, err error) answer {
	if err != nil {
		return answerWith(err)
	}
	text, err := json.Marshal(result.Config)
	if err != nil {
		return answer{Fault: fmt.Sprintf("encode the config: %v", err)}
	}
	a := answer{Config: text, Elsewhere: result.Elsewhere, Foreign: result.Foreign, Source: filesOf([]schema.Source{result.Source})[0], Rewritten: result.Rewritten}
	for _, one := range result.Config.Secrets() {
		a.Secrets = append(a.Secrets, secret{one.Reveal(), one.From()})
	}
	return a
}

// result returns a config of its own for each call.
func (a answer) result() (*Result, error) {
	config := &schema.Config{}
	if err := json.Unmarshal(a.Config, config); err != nil {
		return nil, fmt.Errorf("decode the config: %w", err)
	}
	secrets := a.Secrets
	for _, one := range config.Secrets() {
		if len(secrets) == 0 {
			return nil, errors.New("decode the config: it has secrets that were not sent")
		}
		*one = schema.SecretIn(secrets[0].From).WithText(secrets[0].Text)
		secrets = secrets[1:]
	}
	return &Result{Rewritten: a.Rewritten, Evaluated: &load.Evaluated{Config: config, Elsewhere: a.Elsewhere, Foreign: a.Foreign, Source: sourcesOf([]file{a.Source})[0]}}, nil
}
