package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/trouble"
)

// exits are the exit statuses of `spanctl status` by severity.
var exits = map[string]string{"error": "2", "warning": "1", "info": "0"}

// definition matches the row of a code in docs/conditions.md.
var definition = regexp.MustCompile(`(?m)^\| \[(\w+)\]\(#\w+\) \| (\w+) \|`)

// TestEachCodeHasAState compares the states with docs/conditions.md, which is made of the
// definitions.
func TestEachCodeHasAState(t *testing.T) {
	document, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	severities := map[string]string{}
	for _, row := range definition.FindAllStringSubmatch(string(document), -1) {
		code, severity := row[1], row[2]
		severities[code] = severity
		if exits[severity] == "" || !slices.ContainsFunc(states, func(s state) bool { return s.code == code }) {
			t.Errorf("%s, of severity %q, has no state", code, severity)
		}
	}
	for _, s := range states {
		severity, defined := severities[s.code]
		if !defined {
			t.Errorf("the state %q: there is no code %s", s.name, s.code)
		}
		if s.code != "NoAgent" && s.code != "DiscoveryUnreachable" && !strings.Contains(s.exit, exits[severity]) {
			t.Errorf("the state %q: the exit status is %q, and the code is of severity %s", s.name, s.exit, severity)
		}
	}
}

// TestScenariosBringTheStatesAbout looks for each scenario among the tests, and for the code that
// it is to bring about beside it.
func TestScenariosBringTheStatesAbout(t *testing.T) {
	var sources []string
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "../scenarios") {
			var text []byte
			text, err = os.ReadFile(path)
			sources = append(sources, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		// A scenario is as long as its test.
		var tests []string
		for _, source := range sources {
			_, rest, found := strings.Cut(source, `harness.Scenario(t, "`+s.scenario+`")`)
			if found {
				test, _, _ := strings.Cut(rest, "\nfunc Test")
				tests = append(tests, test)
			}
		}
		switch {
		case len(tests) != 1:
			t.Errorf("the state %q: %d tests are the scenario %q", s.name, len(tests), s.scenario)
		case !strings.Contains(tests[0], s.code):
			t.Errorf("the state %q: the scenario %q does not look for %s", s.name, s.scenario, s.code)
		}
	}
}

// TestFaultsAreStates compares the faults of package trouble with the states.
func TestFaultsAreStates(t *testing.T) {
	for i := range trouble.Faults {
		code := trouble.Faults[i].Code
		if !slices.ContainsFunc(states, func(s state) bool { return s.code == code }) {
			t.Errorf("the fault %q: %s is no state", trouble.Faults[i].Name, code)
		}
	}
}
