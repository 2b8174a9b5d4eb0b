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

// readSecrets reads the secrets that the config has elsewhere.
func (l *loader) readSecrets(config *schema.Config, read ReadSecret) (problems schema.Problems) {
	if read == nil {
		return nil
	}
	for path, secret := range config.Secrets() {
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
			continue
		}
		p := schema.Problem{File: l.name, Path: path, Value: secret.From().String(), Reason: l.files.Conceal(err.Error()), Want: field.All()[field.Parse(path)].Want}
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
