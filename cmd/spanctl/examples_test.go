package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestExamples runs the `spanctl validate` commands of each example's README in its directory. Every
// config of an example must be validated by one.
func TestExamples(t *testing.T) {
	root, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	readmes, err := filepath.Glob(filepath.Join(root, "*", "README.md"))
	if err != nil || len(readmes) < 5 {
		t.Fatalf("%d examples, %v", len(readmes), err)
	}
	scripts := t.TempDir()
	for _, readme := range readmes {
		script := validations(t, readme)
		path := filepath.Join(scripts, filepath.Base(filepath.Dir(readme))+".txtar")
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{Dir: scripts, Setup: func(env *testscript.Env) error {
		return os.CopyFS(filepath.Join(env.WorkDir, "examples"), os.DirFS(root))
	}})
}

// validations returns a script with the `spanctl validate` commands in the code of a README.
func validations(t *testing.T, readme string) string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(readme)
	script := fmt.Sprintf("cd examples/%s\n", filepath.Base(dir))
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "spanctl validate ") {
			script += line
		}
	}
	configs, err := filepath.Glob(filepath.Join(dir, "*.cue"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("%s has no configs: %v", dir, err)
	}
	for _, config := range configs {
		if !strings.Contains(script, "-f "+filepath.Base(config)) && !strings.Contains(script, "-f . -e") {
			t.Errorf("%s does not validate %s", readme, filepath.Base(config))
		}
	}
	return script
}
