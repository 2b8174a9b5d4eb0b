package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportsThatFail imports packages that are not there, in a module and without one. The message
// names the reason and the remedy, at the line of the import.
func TestImportsThatFail(t *testing.T) {
	for _, c := range []struct {
		name, module, path string
		want               []string
	}{
		{"no module", "", "example.com/other", []string{"no directory around the file is a CUE module, and nothing is fetched", "`cue mod init`", "cue.mod/pkg/example.com/other"}},
		{"a module without it", "module: \"example.com/fleet@v0\"\nlanguage: version: \"v0.16.0\"\n", "example.com/other@v1",
			[]string{"not in the CUE module, and nothing is fetched from a registry, whatever $CUE_REGISTRY is", "cue.mod/pkg/example.com/other"}},
		{"a dependency of a registry", "module: \"example.com/fleet@v0\"\nlanguage: version: \"v0.16.0\"\ndeps: \"example.com/other@v1\": v: \"v1.2.3\"\n", "example.com/other@v1:other",
			[]string{"nothing is fetched from a registry", "want the package in "}},
		{"in the module itself", "module: \"example.com/fleet@v0\"\nlanguage: version: \"v0.16.0\"\n", "example.com/fleet/lib:other",
			[]string{"imports \"example.com/fleet/lib:other\", which is not in the CUE module"}},
		{"almost the schema", "", "github.com/spanmesh/span/schema", []string{"want \"github.com/spanmesh/span/machine\", if the schema is meant"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("CUE_REGISTRY", "127.0.0.1:1") // would fail in another way
			dir := t.TempDir()
			if c.module != "" {
				if err := os.MkdirAll(filepath.Join(dir, "cue.mod"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "cue.mod", "module.cue"), []byte(c.module), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, "a.cue")
			_, err := Config(path, []byte("\nimport x \""+c.path+"\"\n\nmachine: x.machine\n"))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range append(c.want, path+":2:8: imports \""+c.path+"\"") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

// TestImportWithTheNameOfAField imports the schema beside a field with its name.
func TestImportWithTheNameOfAField(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.cue")
	_, err := Config(path, []byte("import \"github.com/spanmesh/span/machine\"\n\nmachine.#Machine\nmachine: network: kubespan: enabled: false\n"))
	const want = ":1:8: the import has the name of the field \"machine\"; want another name for it, " +
		"such as `import schema \"github.com/spanmesh/span/machine\"` and schema.#Machine"
	if err == nil || err.Error() != path+want {
		t.Errorf("got %v, want %s", err, want)
	}
}
