package resource

import "time"

// Conditions are what is wrong now.
var Conditions = &Type{
	Name:      "Conditions",
	Namespace: "runtime",
	Aliases:   []string{"conditions", "condition", "cond"},
	columns: []column{
		columnOf("SEVERITY", func(c Condition) string { return c.Severity }),
		shows("since", ageOf("AGE", func(c Condition) time.Time { return c.Since })),
		columnOf("CAUSE", func(c Condition) string { return c.Cause }),
		columnOf("REMEDY", func(c Condition) string { return c.Remedy }),
	},
	names:  namesOf(func(c Condition) []string { return []string{c.Code} }),
	sample: Condition{},
}

// Condition is the spec of Conditions.
type Condition struct {
	// Code is stable, such as "TableTaken".
	Code string `json:"code"`
	// Severity is "error", "warning" or "info".
	Severity string `json:"severity"`
	// Subject is what the condition is about; empty for the machine.
	Subject string `json:"subject,omitempty"`
	// Since is when it began.
	Since time.Time `json:"since"`
	// Cause says what is wrong.
	Cause string `json:"cause"`
	// Remedy says what the operator can do.
	Remedy string `json:"remedy"`
}
