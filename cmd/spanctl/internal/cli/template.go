package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/theory/jsonpath"
)

// template is the value of -o jsonpath: one path of RFC 9535, or text with paths in braces, as
// kubectl takes them.
type template struct {
	parts []part
	// lines is set for a path without braces, whose values are a line each. Otherwise the values of a
	// path are a line, and nothing is added.
	lines bool
}

// part is a text or a path.
type part struct {
	text string
	path *jsonpath.Path
}

// parseTemplate reads a path, or text with paths in braces.
func parseTemplate(text string) (*template, error) {
	if !strings.Contains(text, "{") || strings.HasPrefix(text, "$") {
		path, err := parsePath(text)
		return &template{parts: []part{{path: path}}, lines: true}, err
	}
	t := &template{}
	for text != "" {
		before, after, found := strings.Cut(text, "{")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			break
		}
		end := closing(after)
		if end < 0 {
			return nil, fmt.Errorf("the JSONPath %q has a { without a }", "{"+after)
		}
		p, err := parsePart(strings.TrimSpace(after[:end]))
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		text = after[end+1:]
	}
	return t, nil
}

// closing returns where a brace outside of quotes closes a part, or -1.
func closing(text string) int {
	quote := rune(0)
	escaped := false
	for i, r := range text {
		switch {
		case escaped:
			escaped = false
		case quote != 0 && r == '\\':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '}':
			return i
		}
	}
	return -1
}

// parsePart reads what is in braces: a quoted text or a path.
func parsePart(text string) (part, error) {
	switch word, _, _ := strings.Cut(text, " "); {
	case word == "range" || word == "end":
		return part{}, fmt.Errorf("{%s} is not taken: a path without braces, such as '$.items[*].spec.label', prints a line for each value", word)
	case strings.HasPrefix(text, `"`):
		unquoted, err := strconv.Unquote(text)
		if err != nil {
			return part{}, fmt.Errorf("{%s} is no text in quotes, such as {\"\\n\"}", text)
		}
		return part{text: unquoted}, nil
	}
	path, err := parsePath(text)
	return part{path: path}, err
}

// parsePath reads a path. The "$" or "@" at its start may be missing.
func parsePath(text string) (*jsonpath.Path, error) {
	full := text
	switch {
	case strings.HasPrefix(text, "$"):
	case strings.HasPrefix(text, "@"):
		full = "$" + text[1:]
	case text == "", strings.HasPrefix(text, "."), strings.HasPrefix(text, "["):
		full = "$" + strings.TrimSuffix(text, ".")
	default:
		full = "$." + text
	}
	path, err := jsonpath.Parse(full)
	if err != nil {
		return nil, fmt.Errorf("the JSONPath %q: %w (RFC 9535 has the syntax)", text, err)
	}
	return path, nil
}

// print prints what a value has at the paths.
func (t *template) print(out io.Writer, value any) error {
	generic, err := genericJSON(value)
	if err != nil {
		return err
	}
	for _, p := range t.parts {
		text := p.text
		if p.path != nil {
			if text, err = t.values(p.path, generic); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(out, plainLines(text)); err != nil {
			return err
		}
	}
	return nil
}

// values returns the values at a path: strings as they are, all else in JSON.
func (t *template) values(path *jsonpath.Path, of any) (string, error) {
	var texts []string
	for value := range path.Select(of).All() {
		text, is := value.(string)
		if !is {
			var err error
			if text, err = jsonText(value, ""); err != nil {
				return "", err
			}
		}
		texts = append(texts, text)
	}
	if !t.lines {
		return strings.Join(texts, " "), nil
	}
	var b strings.Builder
	for _, text := range texts {
		b.WriteString(plain(text) + "\n")
	}
	return b.String(), nil
}

// genericJSON returns what a value is in JSON, as maps, lists, numbers and strings.
func genericJSON(value any) (generic any, err error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(text, &generic)
	return generic, err
}
