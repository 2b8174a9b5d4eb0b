package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// meetings are how machines met, by the kinds of their access.
type meetings map[[2]lab.Kind]string

// takeMeetings takes the meetings out of outcomes.
func takeMeetings(from outcomes) (meetings, error) {
	found := meetings{}
	for name, outcome := range from {
		text, is := strings.CutPrefix(name, harness.MeetingPrefix)
		if !is {
			continue
		}
		one, other, _ := strings.Cut(text, harness.MeetingSeparator)
		a, b := kindOf(one), kindOf(other)
		if a < 0 || b < 0 {
			return nil, fmt.Errorf("%q has no two kinds of access", name)
		}
		found[[2]lab.Kind{min(a, b), max(a, b)}] = outcome
		delete(from, name)
	}
	return found, nil
}

// kindOf returns the kind of a name, or -1.
func kindOf(name string) lab.Kind {
	return lab.Kind(slices.IndexFunc(lab.Kinds, func(k lab.Kind) bool { return k.String() == name }))
}

// kinds returns the kinds that met, in order.
func (m meetings) kinds() []lab.Kind {
	return slices.DeleteFunc(slices.Clone(lab.Kinds), func(k lab.Kind) bool {
		for pair := range m {
			if slices.Contains(pair[:], k) {
				return false
			}
		}
		return true
	})
}

// picture returns all meetings of the columns, as a table in text for each.
func picture(byColumn []meetings) string {
	var b strings.Builder
	b.WriteString("```\n")
	for i, m := range byColumn {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(columns[i].heading + "\n\n")
		kinds := m.kinds()
		for row, k := range kinds {
			fmt.Fprintf(&b, "%3d  %-23s", row+1, k)
			for _, other := range kinds[:row+1] {
				b.WriteString("  " + letter(m[[2]lab.Kind{other, k}]))
			}
			b.WriteByte('\n')
		}
		b.WriteString(strings.Repeat(" ", 28))
		for row := range kinds {
			fmt.Fprintf(&b, "%3d", row+1)
		}
		b.WriteByte('\n')
	}
	b.WriteString("```\n")
	return b.String()
}

// letter returns the first letter of how machines met; "." where they did not try.
func letter(how string) string {
	if how == "" {
		return "."
	}
	return strings.ToUpper(how[:1])
}

// emptyCells returns an error that lists the kinds that did not meet. In the first column all kinds are to
// meet each; in others those that are there meet each other, since there is one machine of each.
func emptyCells(byColumn []meetings) error {
	var errs []error
	for i, m := range byColumn {
		kinds := m.kinds()
		if i == 0 {
			kinds = lab.Kinds
		}
		for j, k := range kinds {
			for _, other := range kinds[:j+1] {
				if i > 0 && other == k {
					continue
				}
				if how := m[[2]lab.Kind{other, k}]; how == "" || how == "fail" {
					errs = append(errs, fmt.Errorf("machines behind %q and %q, %s: %s", other, k, columns[i].heading, cell(how)))
				}
			}
		}
	}
	return errors.Join(errs...)
}
