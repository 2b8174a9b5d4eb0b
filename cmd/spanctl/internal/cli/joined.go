package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// joined is what a machine answers that becomes part of one table or list.
type joined struct {
	node      string
	rows      rows
	documents []document
	// health is that of the machine, as JSON; nil for commands that print something else.
	health json.RawMessage
	// checks are those of a doctor, as JSON; nil for other commands.
	checks json.RawMessage
}

// joinedKey is the context key of the *joined that takes what a command prints.
type joinedKey struct{}

// nodeName returns the name of the machine where several answer, else "".
func (j *joined) nodeName() string {
	if j == nil {
		return ""
	}
	return j.node
}

// joinedOutput is how the answers of several machines become one.
type joinedOutput struct {
	// format is nil where they follow each other.
	format   *format
	table    table
	headings bool
	// watch is set where changes are printed as they come.
	watch bool
	// health is set where a list of the machines' health or checks is printed.
	health bool
}

// formatOf returns the format of a command whose answers become one, or nil.
func formatOf(cmd *cobra.Command) (*format, error) {
	flag := cmd.Flags().Lookup("output")
	switch {
	case flag == nil:
		return nil, nil
	case cmd.Annotations[reachKey] == string(oneList):
		if value := flag.Value.String(); value == outputJSON || value == outputYAML {
			return &format{name: value}, nil
		}
		return nil, nil
	case cmd.Annotations[reachKey] != string(oneTable):
		return nil, nil
	}
	if value := flag.Value.String(); value == outputWG || value != outputTable && cmd.Flags().Lookup("sort-by") == nil {
		return nil, nil
	}
	f, err := parseFormat(flag.Value.String())
	return &f, err
}

// watched returns what takes the lines of a machine that is watched. Documents name the machine;
// before other lines it is written.
func (o joinedOutput) watched(out io.Writer, node string) io.Writer {
	if o.format != nil && (o.format.name == outputJSON || o.format.name == outputYAML) {
		return out
	}
	return &prefixed{prefix: node + ": ", out: out}
}

// printAnswers prints the answers, and fails as the worst of them does.
func printAnswers(s streams, answers []answer, output joinedOutput) error {
	worst := 0
	var merged [][]string
	var documents []document
	for i := range answers {
		a := &answers[i]
		worst = max(worst, a.status)
		for line := range strings.Lines(a.stderr.String()) {
			s.note(a.node+":", strings.TrimRight(line, "\n"))
		}
		merged = append(merged, a.merged(output.headings && len(merged) == 0)...)
		documents = append(documents, a.joined.documents...)
		if a.stdout.Len() > 0 {
			_, _ = fmt.Fprintf(s.out, "NODE %s\n%s", a.node, a.stdout.String())
		}
	}
	if output.health && output.format != nil {
		if err := printHealths(s.out, output.format.name, answers); err != nil {
			return err
		}
		output.format = nil
	}
	if err := output.table.print(merged...); err != nil {
		return err
	}
	if output.format != nil && !output.format.isTable() && !output.watch {
		if err := output.format.print(s.out, documents, false); err != nil {
			return err
		}
	}
	if worst != exitOK {
		return exitStatus(worst)
	}
	return nil
}

// printHealths prints the health or the checks of several machines as a list, or in YAML as documents. A machine
// that has not answered has an error in its place.
func printHealths(out io.Writer, format string, answers []answer) error {
	type item struct {
		Node   string          `json:"node"`
		Error  string          `json:"error,omitempty"`
		Health json.RawMessage `json:"health,omitempty"`
		Checks json.RawMessage `json:"checks,omitempty"`
	}
	items := make([]item, len(answers))
	for i := range answers {
		items[i] = item{Node: answers[i].node, Health: answers[i].joined.health, Checks: answers[i].joined.checks}
		if items[i].Health == nil && items[i].Checks == nil {
			items[i].Error = strings.TrimPrefix(strings.TrimSpace(answers[i].stderr.String()), "spanctl: ")
		}
	}
	if format == outputJSON {
		return writeJSON(out, struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Items      []item `json:"items"`
		}{apiVersion, "List", items}, "  ")
	}
	return writeYAML(out, items)
}

// merged returns the rows of an answer with a column for the node, with the headings if
// asked for.
func (a *answer) merged(headings bool) [][]string {
	var out [][]string
	for j, row := range a.joined.rows.all {
		switch {
		case j > 0:
			out = append(out, append([]string{a.node}, row...))
		case headings:
			out = append(out, append([]string{"NODE"}, row...))
		}
	}
	return out
}

// prefixed begins each line with a node's name.
type prefixed struct {
	prefix string
	out    io.Writer
	rest   []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.out, "%s%s\n", p.prefix, line); err != nil {
			return 0, err
		}
		p.rest = rest
	}
}
