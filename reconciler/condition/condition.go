package condition

import (
	"cmp"
	"slices"
)

// Condition is something that is wrong now. There is at most one for each Code and Subject.
type Condition struct {
	Code Code
	// Subject is what it is about: the name of a peer, a link, a network; "" for the machine.
	Subject string
	// Cause says what is wrong, with figures.
	Cause string
	// Remedy says what the operator can do.
	Remedy string
	// Blocking is set when no mesh is made while the condition lasts.
	Blocking bool
	// Level is how much it matters, where that is not the severity of its code; "" otherwise.
	Level Severity
}

// Key identifies a condition for as long as it lasts. Its cause may change meanwhile.
type Key struct {
	Code    Code
	Subject string
}

// Key returns the key of c.
func (c Condition) Key() Key { return Key{c.Code, c.Subject} }

// Severity returns how much the condition matters.
func (c Condition) Severity() Severity { return cmp.Or(c.Level, c.Code.Definition().Severity) }

// NotReady reports whether the mesh does not carry traffic while the condition lasts. One that
// matters less than its code does keeps nobody from working.
func (c Condition) NotReady() bool {
	d := c.Code.Definition()
	return d.NotReady && c.Severity().rank() <= d.Severity.rank()
}

// String returns "CODE SUBJECT: CAUSE: REMEDY".
func (c Condition) String() string {
	text := string(c.Code)
	if c.Subject != "" {
		text += " " + c.Subject
	}
	text += ": " + c.Cause
	if c.Remedy != "" {
		text += ": " + c.Remedy
	}
	return text
}

// Compare orders conditions: errors first, then by code and subject.
func Compare(a, b Condition) int {
	return cmp.Or(cmp.Compare(a.Severity().rank(), b.Severity().rank()),
		cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
}

// Sort orders conditions by Compare and drops all but the first of each Key.
func Sort(conditions []Condition) []Condition {
	slices.SortStableFunc(conditions, Compare)
	return slices.CompactFunc(conditions, func(a, b Condition) bool { return a.Key() == b.Key() })
}

// Error is the error of an operation that failed because of a condition. The engine shows
// the condition until a pass succeeds.
type Error struct {
	Condition
	// Err is the error of the operation; nil if it was not tried.
	Err error
}

func (e *Error) Error() string {
	text := e.Cause
	if e.Remedy != "" {
		text += ": " + e.Remedy
	}
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }
