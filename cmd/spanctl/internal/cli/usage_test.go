package cli

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/resource"
)

// TestUsageStatus gives each command arguments that are not valid: 1 is that of a command whose
// statuses say nothing else.
func TestUsageStatus(t *testing.T) {
	own := map[string]int{"status": 3, "wait": 3, "ping": 3, "doctor": 3, "top": 3, "diff": 2}
	socket := "--socket=" + filepath.Join(t.TempDir(), "sock")
	run := func(args ...string) int {
		return Main(append(args, socket), strings.NewReader(""), io.Discard, io.Discard)
	}
	for _, cmd := range Root().Commands() {
		if cmd.HasSubCommands() || cmd.Hidden || cmd.Args == nil {
			continue
		}
		want := exitError
		if status, has := own[cmd.Name()]; has {
			want = status
		}
		for _, args := range [][]string{{"--no-such-flag"}, {"a", "b", "c", "d"}, {"--host=web1", "--nodes=web2"}} {
			if got := run(append([]string{cmd.Name()}, args...)...); got != want && cmd.Args(cmd, args) != nil {
				t.Errorf("%s %v exits with %d, want %d", cmd.Name(), args, got, want)
			}
		}
	}
	for line, want := range map[string]int{
		"status -o xml": 3, "status --check alive": 3, "status --timeout soon": 3, "wait": 3, "wait --for never": 3, "ping": 3, "ping a --count 0": 3,
		"ping a --mtu --count 2": 3, "doctor -o xml": 3, "diff -o yaml": 2, "diff --color pink": 2, "diff --to kernel": 2, "get peers -o xml": 1,
		"status -n web1 -o xml": 3, "no-such-command": 1,
	} {
		if got := run(strings.Fields(line)...); got != want {
			t.Errorf("`spanctl %s` exits with %d, want %d", line, got, want)
		}
	}
}

// TestSortByHeading sorts by each heading of each table.
func TestSortByHeading(t *testing.T) {
	for _, typ := range resource.Types {
		for _, heading := range typ.Headings() {
			for _, text := range []string{heading, strings.ReplaceAll(heading, " ", ""), strings.ToLower(strings.ReplaceAll(heading, " ", "-"))} {
				s, err := parseSort(text, typ.Aliases[0])
				if err != nil {
					t.Errorf("%s by %q: %v", typ.Aliases[0], text, err)
					continue
				}
				fields := slices.Concat(metadataFields, sortFields(typ))
				field := strings.Split(strings.NewReplacer("$", "", `"`, "", "[", ".", "]", "").Replace(s.path.String()), ".")
				if typ != resource.MachineConfigs && (len(field) < 3 || !slices.Contains(fields, field[len(field)-1]) && !slices.Contains(fields, field[len(field)-2])) {
					t.Errorf("%s by %q is by %v, which is no field", typ.Aliases[0], text, s.path)
				}
			}
		}
	}
}
