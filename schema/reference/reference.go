package reference

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"
)

// Markdown returns the reference of all settings.
func Markdown() ([]byte, error) {
	root, err := Settings()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("<!-- Made by `make docs` from schema/machine.cue. -->\n\n# The machine config\n\n" +
		"Every setting, as `spanctl explain PATH` shows it. [config.md](../config.md) shows how a config is\nwritten in CUE, YAML or JSON. No change of a setting needs a restart.\n")
	section(&b, root)
	return []byte(b.String()), nil
}

// section writes the settings of a section, and then the sections in it.
func section(b *strings.Builder, s *Setting) {
	var inner []*Setting
	var values strings.Builder
	for i := range s.Fields {
		f := &s.Fields[i]
		if !f.IsSection() {
			setting(&values, f)
		}
		if len(f.Fields) > 0 {
			inner = append(inner, f)
		}
	}
	if values.Len() > 0 {
		path := s.Path
		if strings.HasPrefix(s.Type, "[]") {
			path += "[]"
		}
		fmt.Fprintf(b, "\n## `%s`\n", path)
		if s.Description != "" && s.IsSection() {
			fmt.Fprintf(b, "\n%s\n", s.Description)
		}
		b.WriteString(values.String())
	}
	for _, one := range inner {
		section(b, one)
	}
}

// setting writes a setting.
func setting(b *strings.Builder, s *Setting) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n", s.Path, s.Description)
	for _, line := range s.Lines() {
		value := line.Value
		switch {
		case line.Label == labelChange && s.Effect == "", len(value) > maxExample:
			continue
		case line.Code:
			value = "`" + value + "`"
		}
		b.WriteString(wrap("- "+line.Label+": "+value) + "\n")
	}
}

const (
	labelChange = "Change"
	// maxExample is the length of the longest value in the document. Certificates are longer.
	maxExample = 250
)

// Line is a fact about a setting for people.
type Line struct {
	Label, Value string
	// Code is set for a value that a config may have.
	Code bool
}

// Lines returns the facts about a setting, in the order in which people read them.
func (s *Setting) Lines() (lines []Line) {
	since := s.Since
	if since == Unreleased {
		since = "not released yet"
	}
	secret := ""
	if s.Secret {
		secret = "kept out of every message, listing and diff"
	}
	change := "in place, without a restart"
	if s.Effect != "" {
		change += "; " + s.Effect
	}
	lines = []Line{{"Type", s.Type, false}, {"Want", s.Want, false}, {"Bounds", s.Bounds, true}, {"Default", s.Default, true},
		{"Example", s.ExampleConfig(), true}, {"Secret", secret, false}, {labelChange, change, false}}
	for _, r := range s.Related {
		lines = append(lines, Line{"Conflict", r, false})
	}
	lines = append(lines, Line{"Since", since, false})
	var there []Line
	for _, l := range lines {
		if l.Value != "" {
			there = append(there, l)
		}
	}
	return there
}

// ExampleConfig returns the example as a line of CUE with the setting's path; empty for none.
func (s *Setting) ExampleConfig() string {
	if s.Example == "" {
		return ""
	}
	return under(s.Path, s.Example)
}

// under returns CUE with a value at a path.
func under(path, value string) string {
	before, after, isItem := strings.Cut(path, "[].")
	if isItem {
		return under(before, "[{"+under(after, value)+"}]")
	}
	return strings.ReplaceAll(path, ".", ": ") + ": " + value
}

// width is the length of the longest line.
const width = 100

// wrap breaks the text of a list item into lines.
func wrap(text string) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case length+1+len(word) > width:
			b.WriteString("\n  ")
			length = len("  ")
		default:
			b.WriteString(" ")
			length++
		}
		b.WriteString(word)
		length += len(word)
	}
	return b.String()
}

// docOf returns the first comment of a field.
func docOf(v cue.Value) string {
	for _, group := range v.Doc() {
		if text := strings.TrimSpace(group.Text()); text != "" {
			return text
		}
	}
	return ""
}
