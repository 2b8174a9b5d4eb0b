package harness

import (
	"fmt"
	"os"
	"testing"
)

// Scenario gives a test its row in docs/testing.md. It appends the outcome to the file
// that SPANCTL_SCENARIOS names: the scenario, pass, fail or skip, and where the test
// runs if that is not everywhere.
func Scenario(t *testing.T, name string) {
	t.Helper()
	report := os.Getenv("SPANCTL_SCENARIOS")
	if report == "" {
		return
	}
	t.Cleanup(func() {
		outcome, only := "pass", where
		switch {
		case t.Failed():
			outcome = "fail"
		case t.Skipped():
			outcome = "skip"
			only = map[bool]Where{false: GuestOnly, true: HostOnly}[InGuest()]
		}
		file, err := os.OpenFile(report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if _, err := fmt.Fprintf(file, "%s\t%s\t%s\n", name, outcome, only); err != nil {
			t.Fatal(err)
		}
	})
}
