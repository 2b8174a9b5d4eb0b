package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/trouble"
	"github.com/spanmesh/span/reconciler/condition"
)

// exits are the exit statuses of `spanctl status` by severity.
var exits = map[condition.Severity]string{condition.SeverityError: "2", condition.SeverityWarning: "1", condition.SeverityInfo: "0"}

// TestEachCodeHasAState compares the states with the definitions of conditions.
func TestEachCodeHasAState(t *testing.T) {
	for _, d := range condition.Definitions() {
		if !slices.ContainsFunc(states, func(s state) bool { return s.code == d.Code }) {
			t.Errorf("%s has no state", d.Code)
		}
	}
	for _, s := range states {
		d := s.code.Definition()
		if s.code != condition.NoAgent && s.code != condition.DiscoveryUnreachable && !strings.Contains(s.exit, exits[d.Severity]) {
			t.Errorf("the state %q: the exit status is %q, and the code is of severity %s", s.name, s.exit, d.Severity)
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
		case !strings.Contains(tests[0], string(s.code)):
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
