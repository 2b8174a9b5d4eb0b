// Matrix makes the table of scenarios in docs/testing.md out of what the tests
// wrote, and says where the document is not current.
//
//	matrix [-update] DOCUMENT DIRECTORY
//
// The directory has a file per column, each with a line per scenario: its name
// and pass, fail or skip with the reason, separated by tabs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// columns are the files and the headings of the table.
var columns = []struct{ file, heading string }{
	{"userspace", "WireGuard in userspace"},
	{"kernel", "the kernel's WireGuard, in the guest"},
}

// The table stands between these lines of the document.
const (
	begin = "<!-- scenarios: written by `make test UPDATE=1` -->"
	end   = "<!-- end of scenarios -->"
)

func main() {
	update := flag.Bool("update", false, "write the document")
	flag.Parse()
	if err := run(*update, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(update bool, document, directory string) error {
	outcomes := make([]map[string]string, len(columns))
	var names []string
	for i, c := range columns {
		found, err := read(filepath.Join(directory, c.file))
		if err != nil {
			return err
		}
		outcomes[i] = found
		for name := range found {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", document, begin, end)
	}
	wanted := before + begin + "\n" + table(names, outcomes) + end + after
	switch {
	case wanted == string(text):
		return failures(names, outcomes)
	case update:
		return errors.Join(os.WriteFile(document, []byte(wanted), 0o644), failures(names, outcomes))
	default:
		return fmt.Errorf("%s does not show what the tests went through: run `make test UPDATE=1`; the table would be\n%s",
			document, table(names, outcomes))
	}
}

// read reads the outcomes of a column by the scenario's name.
func read(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: the tests of that column did not run", path)
	}
	if err != nil {
		return nil, err
	}
	outcomes := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, outcome, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			return nil, fmt.Errorf("%s: the line %q has no outcome", path, line)
		}
		// A test that runs twice is no better than its worse run.
		if outcomes[name] != "fail" {
			outcomes[name] = outcome
		}
	}
	return outcomes, nil
}

func table(names []string, outcomes []map[string]string) string {
	var b strings.Builder
	b.WriteString("| scenario |")
	for _, c := range columns {
		b.WriteString(" " + c.heading + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	for _, name := range names {
		b.WriteString("| " + name + " |")
		for i := range columns {
			b.WriteString(" " + cell(outcomes[i][name]) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func cell(outcome string) string {
	switch reason, skipped := strings.CutPrefix(outcome, "skip\t"); {
	case skipped:
		return reason
	case outcome == "":
		return "not run"
	default:
		return outcome
	}
}

func failures(names []string, outcomes []map[string]string) error {
	var bad []string
	for _, name := range names {
		for i, c := range columns {
			if o := outcomes[i][name]; o == "fail" || o == "" {
				bad = append(bad, fmt.Sprintf("%s, %s: %s", name, c.heading, cell(o)))
			}
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("not all scenarios are green:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}
