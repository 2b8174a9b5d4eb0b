package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/lab"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// empty is a document without outcomes.
const empty = begin + "\n" + end + "\n" + beginStates + "\n" + endStates + "\n" + beginMeetings + "\n" + endMeetings + "\n"

// allStates returns outcomes with which the scenarios of all states have passed.
func allStates() string {
	var b strings.Builder
	for _, s := range states {
		b.WriteString(s.scenario + "\tpass\t\n")
	}
	return b.String()
}

// allMeetings returns outcomes with which machines of all kinds have met.
func allMeetings(how string) string {
	var b strings.Builder
	for i, one := range lab.Kinds {
		for _, other := range lab.Kinds[i:] {
			fmt.Fprintf(&b, "meeting: %s / %s\t%s\t\n", one, other, how)
		}
	}
	return b.String()
}

func TestTableIsWrittenAndChecked(t *testing.T) {
	dir := t.TempDir()
	document := filepath.Join(dir, "testing.md")
	write(t, document, "before\n"+empty+"after\n")
	write(t, filepath.Join(dir, "userspace"), "two meet\tpass\t\na pod\tpass\tuserspace only\n"+allStates())
	write(t, filepath.Join(dir, "userspace-nat"), allMeetings("punched"))
	write(t, filepath.Join(dir, "userspace-host"), "a process dies\tpass\t\n")
	write(t, filepath.Join(dir, "kernel"), "two meet\tpass\t\na process dies\tskip\tuserspace only\na clock\tpass\tguest only\nmeeting: UDP blocked / none\tTLS\t\nmeeting: UDP blocked / UDP blocked\tTLS\t\n"+allStates())

	if err := run(false, document, dir); err == nil {
		t.Error("a document without the table is current")
	}
	if err := run(true, document, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| two meet | pass | pass |", "| a pod | pass | userspace only |", "| a clock | guest only | pass |",
		"| a process dies | pass | userspace only |",
		"\n  3  address-restricted     " + strings.Repeat("  P", 3) + "\n",
		"\n  1  none                     .\n  2  UDP blocked            " + strings.Repeat("  T", 2) + "\n                              1  2\n",
		"| the secret is wrong here | [SecretDiffers](conditions.md#secretdiffers) | 2 | pass | pass |",
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	if err := run(false, document, dir); err != nil {
		t.Error(err)
	}
}

func TestFailuresAreReported(t *testing.T) {
	met := allMeetings("direct")
	for _, c := range []struct{ name, userspace, kernel string }{
		{"machines do not meet", "two meet\tpass\t\n" + allMeetings("fail"), "two meet\tpass\t\n"},
		{"kinds are missing", "two meet\tpass\t\nmeeting: none / none\tdirect\t\n", "two meet\tpass\t\n"},
		{"a pair is missing", "two meet\tpass\t\n" + met, "two meet\tpass\t\nmeeting: none / UDP blocked\tTLS\t\nmeeting: none / symmetric\tdirect\t\n"},
		{"there is no such kind", "two meet\tpass\t\n" + met, "two meet\tpass\t\nmeeting: none / nowhere\tTLS\t\n"},
		{"a test fails", "two meet\tfail\t\n" + met, "two meet\tpass\t\n"},
		{"a test fails and then passes", "two meet\tfail\t\ntwo meet\tpass\t\n" + met, "two meet\tpass\t\n"},
		{"a test did not run in one column", "two meet\tpass\t\n" + met, ""},
		{"a test was skipped", "two meet\tskip\t\n" + met, "two meet\tpass\t\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			document := filepath.Join(dir, "testing.md")
			write(t, document, empty)
			write(t, filepath.Join(dir, "userspace"), c.userspace+allStates())
			write(t, filepath.Join(dir, "kernel"), c.kernel+allStates())
			if err := run(true, document, dir); err == nil {
				t.Error("no error")
			}
		})
	}
}
