package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	// inline matches a command in a sentence, typed a line of its own in a block.
	inline = regexp.MustCompile("`(spanctl [^`]+)`")
	blocks = regexp.MustCompile("(?ms)^ *```[a-z]*\n(.*?)^ *```")
	typed  = regexp.MustCompile(`(?m)^ *(?:[a-z0-9-]+# )?(spanctl .*)$`)
	word   = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// TestFlagsNameTheirValuesInOneWord checks what the help shows between a flag and its text.
func TestFlagsNameTheirValuesInOneWord(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(flag); strings.Contains(name, " ") {
				t.Errorf("%s shows %q as the value of --%s", cmd.CommandPath(), name, flag.Name)
			}
		})
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(Root())
}

// TestDocumentedCommandsExist looks at every command that the documents name: there are
// such a command and such flags. Those in blocks are run as they stand by the tests of
// e2e.
func TestDocumentedCommandsExist(t *testing.T) {
	documents, err := filepath.Glob("../../../../docs/*.md")
	if err != nil || len(documents) < 5 {
		t.Fatalf("the documents are %v, %v", documents, err)
	}
	commands := 0
	for _, path := range append(documents, "../../../../README.md", "../../../../CONTRIBUTING.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := inline.FindAllSubmatch(text, -1)
		for _, one := range blocks.FindAllSubmatch(text, -1) {
			found = append(found, typed.FindAllSubmatch(one[1], -1)...)
		}
		for _, match := range found {
			commands++
			line := strings.NewReplacer("[", " ", "]", " ", `\|`, "|").Replace(string(match[1]))
			if before, _, comment := strings.Cut(line, "  #"); comment {
				line = before
			}
			args := word.FindAllString(strings.TrimSuffix(strings.TrimSpace(line), " &"), -1)[1:]
			for i, arg := range args {
				args[i] = strings.Trim(arg, `'"`)
			}
			if hidden := len(args) > 0 && args[0] == dialCommand; hidden {
				continue
			}
			var said bytes.Buffer
			root := Root()
			root.SetArgs(append(args, "--help"))
			root.SetIn(strings.NewReader(""))
			root.SetOut(&said)
			root.SetErr(io.Discard)
			if err := root.Execute(); err != nil {
				t.Errorf("%s has `%s`: %v", filepath.Base(path), match[1], err)
			}
			if len(args) > 0 && !strings.HasPrefix(args[0], "-") && !strings.Contains(said.String(), "spanctl "+args[0]) {
				t.Errorf("%s has `%s`: there is no such command", filepath.Base(path), match[1])
			}
		}
	}
	if commands < 60 {
		t.Errorf("only %d commands were found", commands)
	}
}
