package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// The values of -o.
const (
	outputTable = "table"
	outputText  = "text"
	// outputUnified is the format of diff(1).
	outputUnified = "unified"
	outputYAML    = "yaml"
	outputJSON    = "json"
)

// unfold removes JSON's braces and quotes. What plainJSON escapes stays in quotes, and what a
// block of YAML cannot begin with.
func unfold(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && (strings.ContainsFunc(n.Value, terminal.IsUnsafeInLines) || isNoBlock(n.Value)) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range n.Content {
		unfold(child)
	}
}

// isNoBlock reports whether text of several lines begins with white space, which yaml writes as
// a block that cannot be read.
func isNoBlock(text string) bool {
	return strings.Contains(text, "\n") && strings.TrimLeft(text, " \t\n") != text
}

// printPlan prints the changes of a plan, one a line.
func printPlan(out io.Writer, changes []*agentpb.Change) error {
	for _, c := range changes {
		if _, err := fmt.Fprintln(out, plain(c.GetText())); err != nil {
			return err
		}
	}
	return nil
}

// printConditions prints conditions on standard error, each on a line that begins with its
// severity and code.
func printConditions(s streams, conditions []*agentpb.Condition) {
	for _, c := range conditions {
		what := c.GetCode()
		if c.GetSubject() != "" {
			what += " " + c.GetSubject()
		}
		text := c.GetCause()
		if c.GetRemedy() != "" {
			text += ": " + c.GetRemedy()
		}
		s.note(c.GetSeverity()+":", plain(what+": "+text))
	}
}

// isInfo reports whether nothing has to be done about a condition.
func isInfo(c *agentpb.Condition) bool { return c.GetSeverity() == "info" }

// hasError reports whether a condition keeps the mesh from working as the config asks.
func hasError(conditions []*agentpb.Condition) bool {
	return slices.ContainsFunc(conditions, func(c *agentpb.Condition) bool { return c.GetSeverity() == "error" })
}

// printDone prints a plan that was applied, and its warnings on standard error. It returns
// the plan's failure as an error that says what was not done and what happens next.
func printDone(s streams, plan *agentpb.Plan) error {
	for _, warning := range plan.GetWarnings() {
		s.note("warning:", plain(warning))
	}
	printConditions(s, plan.GetConditions())
	out, changes := s.out, plan.GetChanges()
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
		left.WriteString("\n  " + plain(c.GetText()))
	}
	return fmt.Errorf("%s\n%d of %d changes were made; these were not:%s\n%s",
		failure.GetMessage(), done, len(changes), left.String(), failure.GetNext())
}
