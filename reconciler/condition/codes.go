package condition

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Code is the stable name of a kind of condition.
type Code string

// Severity is how much a condition matters.
type Severity string

// The severities.
const (
	// SeverityError is for a mesh that does not work as the config asks.
	SeverityError Severity = "error"
	// SeverityWarning is for what an operator should mend soon.
	SeverityWarning Severity = "warning"
	// SeverityInfo is for what an operator may want to know.
	SeverityInfo Severity = "info"
)

// rank orders severities; the most severe is first.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityInfo}, s)
}

// IsAbove reports whether the severity is more severe than another.
func (s Severity) IsAbove(other Severity) bool { return s.rank() < other.rank() }

// StartTime is how long after the start of an agent conditions that settle are not shown.
const StartTime = 30 * time.Second

// Definition describes the conditions of a code.
type Definition struct {
	Code     Code
	Severity Severity
	// Summary says what is wrong, in a line.
	Summary string
	// Check says how to look at it, in a line of Markdown.
	Check string
	// Remedy says what to do, in a line of Markdown. Condition.Remedy has the details.
	Remedy string
	// NotReady is set where the mesh does not carry traffic while the condition lasts.
	NotReady bool
	// Hides are the codes of the conditions that this one is the cause of. They are not shown
	// beside it.
	Hides []Code
	// After is how long the condition must last before it is shown; zero for at once.
	After time.Duration
	// Milder is a sentence about when a condition of this code has a lower severity; empty for never.
	Milder string
	// ClearsAfter is how long it must be absent before it counts as mended; zero for at once.
	ClearsAfter time.Duration
	// Settles is set where each start begins with the condition: it is not shown for StartTime.
	Settles bool
}

// definitions are all codes, sorted.
// docs/conditions.md is made of them: go test ./reconciler/condition -update writes it.
var definitions = slices.SortedFunc(slices.Values(slices.Concat(agentDefinitions, configDefinitions, hostDefinitions, natDefinitions, peerDefinitions, registryDefinitions)),
	func(a, b Definition) int { return cmp.Compare(a.Code, b.Code) })

// Definitions returns all codes, sorted.
func Definitions() []Definition { return slices.Clone(definitions) }

// Definition returns the definition of the code. An unknown code is a warning.
func (c Code) Definition() Definition {
	i, found := slices.BinarySearchFunc(definitions, c, func(d Definition, c Code) int { return cmp.Compare(d.Code, c) })
	if !found {
		return Definition{Code: c, Severity: SeverityWarning}
	}
	return definitions[i]
}

// Doc returns the place in the documentation that describes the code.
func (c Code) Doc() string { return "docs/conditions.md#" + strings.ToLower(string(c)) }
