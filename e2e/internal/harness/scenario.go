package harness

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/lab"
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
		outcome, only := "pass", string(where)
		switch {
		case t.Failed():
			outcome = "fail"
		case t.Skipped():
			outcome = "skip"
			only = string(map[bool]Where{false: GuestOnly, true: HostOnly}[InGuest()])
		}
		note(t, report, name, outcome, only)
	})
}

// The name of a meeting in the file of outcomes has the kinds of access of two machines.
const (
	MeetingPrefix    = "meeting: "
	MeetingSeparator = " / "
)

// Meeting gives two kinds of access their cell in the table of docs/testing.md. It appends how machines
// behind them met, or "fail", to the file of Scenario.
func Meeting(t *testing.T, one, other lab.Kind, how string) {
	t.Helper()
	if report := os.Getenv("SPANCTL_SCENARIOS"); report != "" {
		note(t, report, MeetingPrefix+one.String()+MeetingSeparator+other.String(), how, "")
	}
}

// note appends a line to a file.
func note(t *testing.T, path string, fields ...string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := fmt.Fprintln(file, strings.Join(fields, "\t")); err != nil {
		t.Fatal(err)
	}
}
