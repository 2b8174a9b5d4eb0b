package condition

import "slices"

// Code is the stable name of a kind of condition.
type Code string

// The codes. Each has its severity and meaning in definitions below.
const (
	// AddressOverlap is the code of a network that several machines advertise.
	AddressOverlap Code = "AddressOverlap"
	// MTUTooLarge is the code of an MTU that the links to the peers do not leave room for.
	MTUTooLarge Code = "MTUTooLarge"
	// MarkShared is the code of a rule of another program that tests our bits of the mark.
	MarkShared Code = "MarkShared"
	// MeshAddressOnLink is the code of an address of the config in a link's network.
	MeshAddressOnLink Code = "MeshAddressOnLink"
	// RulePriorityTaken is the code of a rule of another program at our priority.
	RulePriorityTaken Code = "RulePriorityTaken"
	// TableTaken is the code of routes of another program in our table.
	TableTaken Code = "TableTaken"
)

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

// Definition describes the conditions of a code.
type Definition struct {
	Code     Code
	Severity Severity
	// Summary is one line for a list of codes.
	Summary string
}

// definitions are all codes, sorted.
var definitions = []Definition{
	{AddressOverlap, SeverityWarning, "several machines advertise the same network"},
	{MTUTooLarge, SeverityWarning, "the mesh's MTU is larger than the links to the peers allow"},
	{MarkShared, SeverityWarning, "a rule of another program tests the bits of fwmark"},
	{MeshAddressOnLink, SeverityWarning, "an address of the config is in a network of another link"},
	{RulePriorityTaken, SeverityError, "another program uses the rule priority"},
	{TableTaken, SeverityError, "another program uses the routing table"},
}

// Definitions returns the definitions of all codes.
func Definitions() []Definition { return slices.Clone(definitions) }

// Definition returns the definition of the code. An unknown code is a warning.
func (c Code) Definition() Definition {
	if i := slices.IndexFunc(definitions, func(d Definition) bool { return d.Code == c }); i >= 0 {
		return definitions[i]
	}
	return Definition{Code: c, Severity: SeverityWarning}
}
