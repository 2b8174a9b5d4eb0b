package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// The values of -o.
const (
	outputTable = "table"
	outputText  = "text"
	// outputUnified is that of diff(1).
	outputUnified = "unified"
	outputYAML    = "yaml"
	outputJSON    = "json"
)

// jsonOf is a message as indented JSON, always the same for the same message.
func jsonOf(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies the white space from build to build; Indent sets it anew.
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, err
	}
	return append(out.Bytes(), '\n'), nil
}

// yamlOf is a message as a YAML document.
func yamlOf(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	// JSON is YAML: read as such, numbers stay as they are written.
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, err
	}
	unfold(&document)
	return yaml.Marshal(&document)
}

// unfold takes JSON's braces and quotes off.
func unfold(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		unfold(child)
	}
}

// table prints rows under headings. Columns are as wide as what was printed so
// far, so that rows that come later stay aligned.
type table struct {
	out    io.Writer
	widths []int
	// taken takes the rows, where they are to be part of another table.
	taken *rows
}

// gap is the space between two columns.
const gap = 3

func (t *table) print(rows ...[]string) error {
	if t.taken != nil {
		t.taken.all = append(t.taken.all, rows...)
		return nil
	}
	for _, row := range rows {
		for i, cell := range row {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", t.widths[i]-len(cell)+gap))
			}
		}
		if _, err := fmt.Fprintln(t.out, line.String()); err != nil {
			return err
		}
	}
	return nil
}

// printPlan prints the changes of a plan, one a line.
func printPlan(out io.Writer, changes []*agentpb.Change) error {
	for _, c := range changes {
		if _, err := fmt.Fprintln(out, c.GetText()); err != nil {
			return err
		}
	}
	return nil
}

// printDone prints a plan that was applied, and its warnings on standard error. It returns
// the plan's failure as an error that says what was not done and what happens next.
func printDone(cmd *cobra.Command, plan *agentpb.Plan) error {
	for _, warning := range plan.GetWarnings() {
		cmd.PrintErrln("warning: " + warning)
	}
	out, changes := cmd.OutOrStdout(), plan.GetChanges()
	failure := plan.GetFailure()
	if failure == nil {
		if len(changes) == 0 {
			_, err := fmt.Fprintln(out, "no changes")
			return err
		}
		return printPlan(out, changes)
	}
	done := min(int(failure.GetDone()), len(changes)-1)
	if err := printPlan(out, changes[:done]); err != nil {
		return err
	}
	var left strings.Builder
	for _, c := range changes[done:] {
		left.WriteString("\n  " + c.GetText())
	}
	return fmt.Errorf("%s\n%d of %d changes were made; these were not:%s\n%s",
		failure.GetMessage(), done, len(changes), left.String(), cmp.Or(failure.GetNext(), "the agent tries again by itself; see its log"))
}
