package doctor

import (
	"slices"
	"strings"
)

// Grade is how a check ended.
type Grade string

// The grades.
const (
	// OK is for what is as it should be.
	OK Grade = "ok"
	// Warn is for what should be mended soon.
	Warn Grade = "warn"
	// Fail is for what keeps the mesh from working.
	Fail Grade = "fail"
	// Skip is for what is not known.
	Skip Grade = "skip"
)

// Finding is the result of a check.
type Finding struct {
	Grade Grade `json:"grade"`
	// Check is the name of the check.
	Check string `json:"check"`
	// What is what was found.
	What string `json:"what"`
	// Remedy is what to do; "" for nothing.
	Remedy string `json:"remedy,omitempty"`
}

// String returns "CHECK what; remedy".
func (f Finding) String() string {
	text := f.Check + " " + f.What
	if f.Remedy != "" {
		text += "; " + f.Remedy
	}
	return text
}

// checks are all checks, in the order in which they are printed.
var checks = []func(*Facts) []Finding{
	agent, config, identity, rights, wireguard, modules, ipv6, reversePath, forwarding, ruleOrder, port, fileModes,
	names, proxies, certificates, clocks, services, paths, fromOutside, translation, mappings, relays, directPaths,
}

// Judge returns the findings.
func Judge(f *Facts) []Finding {
	var all []Finding
	for _, check := range checks {
		for _, found := range check(f) {
			found.What, found.Remedy = oneLine(found.What), oneLine(found.Remedy)
			all = append(all, found)
		}
	}
	return all
}

// oneLine joins the lines of a text, such as of an error.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// Status returns the exit status for findings: 0, 1 if one warns, 2 if one fails.
func Status(findings []Finding) int {
	has := func(g Grade) bool { return slices.ContainsFunc(findings, func(f Finding) bool { return f.Grade == g }) }
	switch {
	case has(Fail):
		return 2
	case has(Warn):
		return 1
	default:
		return 0
	}
}

// one returns a single finding.
func one(g Grade, check, what, remedy string) []Finding { return []Finding{{g, check, what, remedy}} }

// noConfig is the finding of a check that depends on the config.
func noConfig(check string) []Finding { return one(Skip, check, "there is no config", "") }
