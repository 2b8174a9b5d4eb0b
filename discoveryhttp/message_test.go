package discoveryhttp

import (
	"slices"
	"strings"
	"testing"
)

// TestIDsOfNames finds the affiliates to remove by what a snapshot calls them.
func TestIDsOfNames(t *testing.T) {
	for _, id := range []string{"\x1b[2J\nrow", "a\u202eb", "\u200b", "\xff\x1b", "\"\x1b\"", "node", `"node"`, `"\x1b"`, " ", strings.Repeat("\x1b", 64)} {
		name, _ := checkID([]byte(id))
		ids, err := idsNamed(name)
		if err != nil || !slices.Contains(ids, id) {
			t.Errorf("%q is called %s, which is %q, %v", id, name, ids, err)
		}
	}
	// Who has put quotes around another machine's ID is removed alone.
	if ids, err := idsNamed(`"node"`); err != nil || !slices.Equal(ids, []string{`"node"`}) {
		t.Errorf("got %q, %v", ids, err)
	}
	for _, id := range []string{strings.Repeat("\x1b", 65), strings.Repeat("a", maxID+1)} {
		name, _ := checkID([]byte(id))
		if ids, err := idsNamed(name); err == nil {
			t.Errorf("%s is %q", name, ids)
		}
	}
}
