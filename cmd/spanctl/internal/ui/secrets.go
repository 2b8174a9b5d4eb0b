package ui

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// marked matches what stands for a secret in a text that is shown: "(hidden)", and "(hidden 2)" for
// another secret of the same text.
var marked = regexp.MustCompile(`\(hidden(?: \d+)?\)`)

// mark returns what stands for the secret with a number.
func mark(i int) string {
	if i == 0 {
		return schema.Hidden
	}
	return fmt.Sprintf("(hidden %d)", i+1)
}

// secretsOf returns the secrets of a config, each once: the texts that one view of it has where the
// other hides them.
func secretsOf(hidden, revealed any) (secrets []string) {
	switch h := hidden.(type) {
	case map[string]any:
		r, _ := revealed.(map[string]any)
		for name, below := range h {
			secrets = append(secrets, secretsOf(below, r[name])...)
		}
	case []any:
		r, _ := revealed.([]any)
		for i := range min(len(h), len(r)) {
			secrets = append(secrets, secretsOf(h[i], r[i])...)
		}
	case string:
		if secret, is := revealed.(string); is && h == schema.Hidden && secret != "" {
			secrets = append(secrets, secret)
		}
	}
	slices.Sort(secrets)
	return slices.Compact(secrets)
}

// hide returns a text with marks in place of its secrets. It reports false where that is not safe: if
// the text has a secret in another way than as it is, or anything that looks like a secret.
func hide(text string, secrets []string, facts support.Facts) (shown string, safe bool) {
	if marked.MatchString(text) {
		return "", false // nobody could tell it from a secret
	}
	// The longest first, since one may be a part of another.
	for i, secret := range byLength(secrets) {
		if !strings.Contains(text, secret) {
			return "", false
		}
		text = strings.ReplaceAll(text, secret, mark(i))
	}
	facts.Secrets = append(slices.Clone(facts.Secrets), secrets...)
	return text, support.NewScrubber(support.None, facts).Text(text) == text
}

// errUnknownMark is the error of a text with a mark that stands for nothing.
var errUnknownMark = errors.New("a secret is hidden that the config in force does not have: write it in place of " + schema.Hidden)

// errMisplaced is the error of a text with a mark that is not the whole value of a field where that
// mark stood.
var errMisplaced = errors.New(schema.Hidden + " stands for a secret only as the whole value of the field where it stood")

// unhide returns a text that somebody edited, with the secrets that its marks stand for. Each mark must
// be the whole value of a field that is secret, and have stood at such a field in the text that was
// shown, and nothing in the text may be computed: what is made of a secret would not be hidden.
func unhide(edited, shown schema.Source, secrets []string) (string, error) {
	known, stood := map[string]string{}, map[string]bool{}
	for i, secret := range byLength(secrets) {
		known[mark(i)] = secret
	}
	before, err := load.SecretPlaces(shown)
	if err != nil {
		return "", notPlain(err)
	}
	for _, p := range before {
		stood[p.Path+" "+string(shown.Data[p.From:p.To])] = true
	}
	places, err := load.SecretPlaces(edited)
	if err != nil {
		return "", notPlain(err)
	}
	var whole, rest strings.Builder
	at, values := 0, make([]string, len(places))
	for i, p := range places {
		text := string(edited.Data[p.From:p.To])
		values[i] = text
		if marked.FindString(text) != text || text == "" {
			continue
		}
		secret, is := known[text]
		switch {
		case !is:
			return "", errUnknownMark
		case !stood[p.Path+" "+text] || p.From < at:
			return "", errMisplaced
		}
		values[i] = secret
		rest.Write(edited.Data[at:p.From])
		whole.Write(edited.Data[at:p.From])
		whole.WriteString(secret)
		at = p.To
	}
	rest.Write(edited.Data[at:])
	whole.Write(edited.Data[at:])
	if marked.MatchString(rest.String()) {
		return "", errMisplaced
	}
	return confirmed(schema.Source{Name: edited.Name, Data: []byte(whole.String())}, places, values)
}

// confirmed returns a text whose secrets are at the places of their marks: what is sent is what was meant.
func confirmed(whole schema.Source, places []load.Place, values []string) (string, error) {
	after, err := load.SecretPlaces(whole)
	if err != nil || len(after) != len(values) {
		return "", errMisplaced
	}
	for i, p := range after {
		if p.Path != places[i].Path || string(whole.Data[p.From:p.To]) != values[i] {
			return "", errMisplaced
		}
	}
	return string(whole.Data), nil
}

// notPlain is the error of a text with marks that is not plain data.
func notPlain(err error) error {
	return fmt.Errorf("%w; a text with %s must be plain data, of which nothing is made of a secret: edit the config on the machine, with `spanctl edit`", err, schema.Hidden)
}

func byLength(secrets []string) []string {
	sorted := slices.Clone(secrets)
	slices.SortStableFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	return sorted
}
