package ui

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/schema"
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

// unhide returns a text with the secrets that its marks stand for.
func unhide(text string, secrets []string) (string, error) {
	known := map[string]string{}
	for i, secret := range byLength(secrets) {
		known[mark(i)] = secret
	}
	var err error
	whole := marked.ReplaceAllStringFunc(text, func(m string) string {
		secret, found := known[m]
		if !found {
			err = errUnknownMark
		}
		return secret
	})
	return whole, err
}

func byLength(secrets []string) []string {
	sorted := slices.Clone(secrets)
	slices.SortStableFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	return sorted
}
