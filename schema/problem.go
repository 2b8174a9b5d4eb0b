package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one fault of a machine config. Fields that do not apply are empty.
type Problem struct {
	// File is the name of the file with the fault.
	File string
	// Line counts from 1. It is 0 where no line is known.
	Line int
	// Column is in bytes and counts from 1.
	Column int
	// Path is the field, such as "machine.network.kubespan.mtu".
	Path string
	// Value is the value of the field, as the user wrote it. It is "(hidden)" for a secret.
	Value string
	// Reason says what is wrong.
	Reason string
	// Want says what would be right.
	Want string
	// Text is the line, with everything that could be secret replaced by "(hidden)".
	Text string
	// Caret is the place of the fault in Text, in bytes from 0.
	Caret int
}

// Error returns the problem on one line: file, position, path, value, reason and remedy.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	for _, part := range []string{p.Path, p.Value} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	b.WriteString(": " + p.Reason)
	if p.Want != "" {
		b.WriteString("; want " + p.Want)
	}
	return b.String()
}

// Problems are all faults of a machine config, in the order of their positions.
type Problems []Problem

// Error returns a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Reference is the address of the reference of all settings.
const Reference = "https://github.com/spanmesh/span/blob/main/docs/reference/machine.md"

// JSONSchemaURL is the address of the JSON Schema of the repository's main branch.
const JSONSchemaURL = "https://raw.githubusercontent.com/spanmesh/span/main/docs/reference/machine.schema.json"

// Explain returns each problem with its line of the file, a caret under the place, and at the
// end the address of the reference.
func (ps Problems) Explain() string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.Error() + "\n")
		if p.Text == "" {
			continue
		}
		number := strconv.Itoa(p.Line)
		margin := strings.Repeat(" ", len(number))
		fmt.Fprintf(&b, " %s | %s\n %s | %s^\n", number, p.Text, margin, blank(p.Text, p.Caret))
	}
	b.WriteString("the settings are explained at " + Reference)
	return b.String()
}

// blank returns white space as wide as the first bytes of a line.
func blank(line string, bytes int) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(line[:min(max(bytes, 0), len(line))], ""))
}

// Sort sorts by file, position and path.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Path, b.Path))
	})
}
