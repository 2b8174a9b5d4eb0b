package hostsfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const owner = "/var/lib/spanctl"

var lines = []string{"fd00::1\tweb1.span.internal", "fd00::2\tweb2.span.internal"}

const block = `# BEGIN spanctl /var/lib/spanctl: what is changed up to END is lost
fd00::1	web1.span.internal	# spanctl
fd00::2	web2.span.internal	# spanctl
# END spanctl /var/lib/spanctl
`

func TestEdit(t *testing.T) {
	const other = "# BEGIN spanctl /other: what is changed up to END is lost\nfd01::1\ta.b\t# spanctl\n# END spanctl /other\n"
	joinedBlock := strings.Replace(block, " is lost\n", " is lost (the line above had no end)\n", 1)
	for name, c := range map[string]struct {
		content, want string
		lines         []string
	}{
		"an empty file":                   {"", block, lines},
		"none yet":                        {"127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + block, lines},
		"one that stays":                  {"a\n" + block + "b\n", "a\n" + block + "b\n", lines},
		"one that changes":                {"a\n" + strings.Replace(block, "::2", "::9", 1) + "b\n", "a\n" + block + "b\n", lines},
		"one with what others wrote":      {"a\n" + strings.Replace(block, "# END", "fd00::5 x # spanctl\n# END", 1), "a\n" + block + "fd00::5 x # spanctl\n# END spanctl /var/lib/spanctl\n", lines},
		"one that goes":                   {"a\n" + block + "b\n", "a\nb\n", nil},
		"none that goes":                  {"a\nb", "a\nb", nil},
		"a last line without an end":      {"a", "a\n" + joinedBlock, lines},
		"it goes after such a line":       {"a\n" + joinedBlock, "a", nil},
		"it goes, and something followed": {"a\n" + joinedBlock + "b\n", "a\nb\n", nil},
		"two of them":                     {"a\n" + block + "b\n" + block + "c\n", "a\n" + block + "b\nc\n", lines},
		"that of another":                 {other + block, other, nil},
		"beside that of another":          {other, other + block, lines},
		"its end is missing":              {"a\n" + strings.TrimSuffix(block, "# END spanctl /var/lib/spanctl\n") + "10.0.0.1 b\nc\n", "a\n10.0.0.1 b\nc\n", nil},
		"it was cut off":                  {"a\n" + block[:len(block)-40], "a\n" + block, lines},
		"carriage returns":                {"a\r\n" + strings.ReplaceAll(block, "\n", "\r\n") + "b\r\n", "a\r\n" + block + "b\r\n", lines},
	} {
		t.Run(name, func(t *testing.T) {
			content := []byte(c.content)
			got := Edit(content, owner, c.lines)
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if string(content) != c.content {
				t.Error("the content was changed in place")
			}
			if again := Edit(got, owner, c.lines); !bytes.Equal(again, got) {
				t.Errorf("a second time it is %q", again)
			}
		})
	}
}

// has reports whether a content has the first line of a block.
func has(content []byte) bool {
	for line := range strings.Lines(string(content)) {
		if text := strings.TrimRight(line, "\r\n"); text == beginMark+owner+explanation || text == beginMark+owner+joined {
			return true
		}
	}
	return false
}

// FuzzEdit has contents of others: the block comes and goes, and nothing else changes.
func FuzzEdit(f *testing.F) {
	for _, content := range []string{"", "a", "a\n", "a\r\n\n", block, "x\n" + block[:60], "# END spanctl /var/lib/spanctl\n"} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		there := Edit(content, owner, lines)
		if !bytes.Contains(there, []byte("web2.span.internal\t# spanctl\n")) || !bytes.Equal(Edit(there, owner, lines), there) {
			t.Fatalf("%q", there)
		}
		gone := Edit(there, owner, nil)
		if has(gone) || !has(content) && !bytes.Equal(gone, content) {
			t.Fatalf("%q became %q", content, gone)
		}
	})
}
