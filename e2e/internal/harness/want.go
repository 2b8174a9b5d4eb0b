package harness

import (
	"strings"
	"testing"
)

// WantText fails the test for each text that something does not contain.
func WantText(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", what, want, text)
		}
	}
}

// WantNoText fails the test for each text that something contains.
func WantNoText(t *testing.T, what, text string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if strings.Contains(text, u) {
			t.Errorf("%s: %q is in\n%s", what, u, text)
		}
	}
}
