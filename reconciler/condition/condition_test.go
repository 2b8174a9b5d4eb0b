package condition

import (
	gocmp "cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefinitionsAreSortedAndComplete(t *testing.T) {
	camel := regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	if !slices.IsSortedFunc(definitions, func(a, b Definition) int { return gocmp.Compare(a.Code, b.Code) }) {
		t.Error("the definitions are not sorted by code")
	}
	for _, d := range definitions {
		if !camel.MatchString(string(d.Code)) || d.Summary == "" || d.Check == "" || d.Remedy == "" || d.Severity.rank() < 0 {
			t.Errorf("definition %+v is not complete", d)
		}
		for _, hidden := range d.Hides {
			if hidden == d.Code || hidden.Definition().Summary == "" {
				t.Errorf("%s hides %q, which is no other code", d.Code, hidden)
			}
		}
	}
}

func TestSortPutsErrorsFirstAndKeepsOneOfEachKey(t *testing.T) {
	got := Sort([]Condition{
		{Code: MTUTooLarge, Cause: "first"},
		{Code: TableTaken, Subject: "b"},
		{Code: MTUTooLarge, Cause: "second"},
		{Code: TableTaken, Subject: "a"},
	})
	want := []Condition{
		{Code: TableTaken, Subject: "a"},
		{Code: TableTaken, Subject: "b"},
		{Code: MTUTooLarge, Cause: "first"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}

func TestErrorKeepsItsConditionAndCause(t *testing.T) {
	c := Condition{Code: TableTaken, Cause: "table 180 is taken", Remedy: "use another"}
	err := fmt.Errorf("reconcile: %w", &Error{c, io.EOF})
	var failed *Error
	if !errors.As(err, &failed) || failed.Condition != c {
		t.Errorf("the condition of %v is lost", err)
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the cause of %v is lost", err)
	}
	if want := "reconcile: table 180 is taken: use another (EOF)"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
}
