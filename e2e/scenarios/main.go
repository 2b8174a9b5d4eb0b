// Command scenarios writes the tables of scenarios, of the states of trouble that they bring about, and
// of how machines meet, in docs/testing.md from the outcomes of the tests, and reports where the document
// is not current.
//
//	scenarios [-update] DOCUMENT DIRECTORY
//
// The directory has files of outcomes, whose names begin with the column. A line is a
// scenario, its outcome (pass, fail or skip) and where it runs if that is one column
// only, separated by tabs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// columns are the columns of the table and the prefixes of their files.
var columns = []struct{ prefix, heading string }{
	{"userspace", "WireGuard in userspace"},
	{"kernel", "the kernel's WireGuard, in the guest"},
}

// The tables are between these lines of the document.
const (
	begin         = "<!-- scenarios: written by `make test-scenarios UPDATE=1` -->"
	end           = "<!-- end of scenarios -->"
	beginStates   = "<!-- states: written by `make test-scenarios UPDATE=1` -->"
	endStates     = "<!-- end of states -->"
	beginMeetings = "<!-- meetings: written by `make test-scenarios UPDATE=1` -->"
	endMeetings   = "<!-- end of meetings -->"
)

func main() {
	update := flag.Bool("update", false, "write the document")
	flag.Parse()
	if err := run(*update, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
}

// outcomes are the outcomes of a column by the scenario's name.
type outcomes map[string]string

func run(update bool, document, directory string) error {
	byColumn, met := make([]outcomes, len(columns)), make([]meetings, len(columns))
	only := map[string]string{}
	var names []string
	for i, c := range columns {
		found, err := readColumn(directory, c.prefix, only)
		if err != nil {
			return err
		}
		if met[i], err = takeMeetings(found); err != nil {
			return err
		}
		byColumn[i] = found
		for name := range found {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	for name, where := range only {
		for _, column := range byColumn {
			if column[name] == "" || column[name] == "skip" {
				column[name] = where
			}
		}
	}
	slices.Sort(names)
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	wanted, err := fill(string(text), []part{
		{begin, end, table(names, byColumn)}, {beginStates, endStates, stateTable(byColumn)}, {beginMeetings, endMeetings, picture(met)},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	failed := errors.Join(failures(names, byColumn), unseen(byColumn), emptyCells(met))
	switch {
	case wanted == string(text):
		return failed
	case update:
		return errors.Join(os.WriteFile(document, []byte(wanted), 0o644), failed)
	default:
		return fmt.Errorf("%s does not have the outcomes of the tests: run `make test-scenarios UPDATE=1`; the tables would be\n%s\n%s\n%s",
			document, table(names, byColumn), stateTable(byColumn), picture(met))
	}
}

// part is what belongs between two lines of a document.
type part struct{ begin, end, with string }

// fill replaces the parts of a text.
func fill(text string, parts []part) (string, error) {
	for _, p := range parts {
		before, rest, found := strings.Cut(text, p.begin)
		_, after, closed := strings.Cut(rest, p.end)
		if !found || !closed {
			return "", fmt.Errorf("no lines %q and %q", p.begin, p.end)
		}
		text = before + p.begin + "\n" + p.with + p.end + after
	}
	return text, nil
}

// readColumn reads the outcomes of a column. It adds to only where scenarios run that do
// not run everywhere.
func readColumn(directory, prefix string, only map[string]string) (outcomes, error) {
	paths, err := filepath.Glob(filepath.Join(directory, prefix+"*"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no file %s: the tests of that column did not run", directory, prefix)
	}
	found := outcomes{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(fields) != 3 {
				return nil, fmt.Errorf("%s: the line %q does not have three fields", path, line)
			}
			name, outcome, where := fields[0], fields[1], fields[2]
			// The worse of two runs counts.
			if found[name] != "fail" {
				found[name] = outcome
			}
			if where != "" {
				only[name] = where
			}
		}
	}
	return found, nil
}

func table(names []string, byColumn []outcomes) string {
	var b strings.Builder
	b.WriteString("| scenario |")
	for _, c := range columns {
		b.WriteString(" " + c.heading + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(columns)) + "\n")
	for _, name := range names {
		b.WriteString("| " + name + " |")
		for _, column := range byColumn {
			b.WriteString(" " + cell(column[name]) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func cell(outcome string) string {
	if outcome == "" {
		return "not run"
	}
	return outcome
}

// failures returns an error that lists the scenarios that failed or did not run.
func failures(names []string, byColumn []outcomes) error {
	var bad []string
	for _, name := range names {
		for i, c := range columns {
			if o := byColumn[i][name]; o == "fail" || o == "skip" || o == "" {
				bad = append(bad, fmt.Sprintf("%s, %s: %s", name, c.heading, cell(o)))
			}
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("not all scenarios passed:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}

// stateTable returns the table of the states, with the outcomes of the scenarios that bring them
// about.
func stateTable(byColumn []outcomes) string {
	var b strings.Builder
	b.WriteString("| state | code | exit status |")
	for _, c := range columns {
		b.WriteString(" " + c.heading + " |")
	}
	b.WriteString(" scenario |\n| --- | --- | --- |" + strings.Repeat(" --- |", len(columns)) + " --- |\n")
	for i := range states {
		s := &states[i]
		fmt.Fprintf(&b, "| %s | %s | %s |", s.name, s.reference(), s.exit)
		for _, column := range byColumn {
			b.WriteString(" " + cell(column[s.scenario]) + " |")
		}
		b.WriteString(" " + s.scenario + " |\n")
	}
	return b.String()
}

// reference returns the code, with a link to what describes it.
func (s *state) reference() string {
	return fmt.Sprintf("[%s](conditions.md#%s)", s.code, strings.ToLower(s.code))
}

// unseen returns an error that lists the states whose scenario did not run anywhere.
func unseen(byColumn []outcomes) error {
	var errs []error
	for _, s := range states {
		if !slices.ContainsFunc(byColumn, func(o outcomes) bool { return o[s.scenario] != "" }) {
			errs = append(errs, fmt.Errorf("the state %q was not brought about: no outcome of the scenario %q", s.name, s.scenario))
		}
	}
	return errors.Join(errs...)
}
