package load

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// ReadSecret reads a secret from its source. Its errors must not quote what the source has.
type ReadSecret func(schema.SecretSource) (string, error)

// Evaluated is a complete machine config, of whose secrets those are not read that it has
// elsewhere.
type Evaluated struct {
	// Config is the config.
	Config *schema.Config
	// Source is the config as one file that needs no other. Only Evaluate sets it.
	Source schema.Source
	// Foreign reports whether files other than the sources were read.
	Foreign bool
	// Elsewhere has a problem for each secret that the config has elsewhere, in the order of
	// Config.Secrets. Their reasons are empty.
	Elsewhere schema.Problems
}

// ReadSecrets reads the secrets that the config has elsewhere. If read is nil, it does not. Its
// error is of type schema.Problems.
func (e *Evaluated) ReadSecrets(read ReadSecret) error {
	if read == nil {
		return nil
	}
	var problems schema.Problems
	elsewhere := e.Elsewhere
	for _, secret := range e.Config.Secrets() {
		if secret.From() == (schema.SecretSource{}) {
			continue
		}
		text, err := read(secret.From())
		text = strings.TrimSpace(text)
		if err == nil {
			if _, err = schema.ParseKey(text); err != nil {
				err = fmt.Errorf("its content %w", err)
			}
		}
		if err == nil {
			*secret = secret.WithText(text)
		} else {
			p := elsewhere[0]
			p.Reason = err.Error()
			problems = append(problems, p)
		}
		elsewhere = elsewhere[1:]
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// elsewhere returns a problem for each secret that the config has elsewhere.
func (l *loader) elsewhere(config *schema.Config) (problems schema.Problems) {
	for path, secret := range config.Secrets() {
		if secret.From() == (schema.SecretSource{}) {
			continue
		}
		p := schema.Problem{File: l.name, Path: path, Value: secret.From().String(), Want: field.All()[field.Parse(path)].Want}
		l.files.At(&p, l.position(l.user.LookupPath(cue.ParsePath(path)), nil))
		problems = append(problems, p)
	}
	return problems
}

// collectSecrets adds the values of secret fields, which may be computed, to the texts
// that messages hide.
func (l *loader) collectSecrets() {
	for path, f := range field.All() {
		if f.Secret {
			l.collect(l.user, strings.Split(path, "."))
		}
	}
}

func (l *loader) collect(v cue.Value, path []string) {
	if len(path) == 0 {
		if text, err := v.String(); err == nil {
			l.files.AddSecret(text)
		}
		return
	}
	if path[0] != field.Element {
		l.collect(v.LookupPath(cue.MakePath(cue.Str(path[0]))), path[1:])
		return
	}
	for items, err := v.List(); err == nil && items.Next(); {
		l.collect(items.Value(), path[1:])
	}
}
