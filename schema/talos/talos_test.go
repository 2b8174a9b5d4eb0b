package talos

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// TestImport reads each archive of testdata: a Talos config, and either the
// new config, the list of what was left out and the notes, or the error.
func TestImport(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, f := range archive.Files[1:] {
				want[f.Name] = string(f.Data)
			}
			got, err := Import("machine.cue", schema.Source{Name: archive.Files[0].Name, Data: archive.Files[0].Data}, bytes.NewReader(make([]byte, 64)))
			out := map[string]string{}
			for name, text := range map[string]string{"machine.cue": string(got.Data), "left": lines(got.Left), "notes": lines(got.Notes)} {
				if text != "" {
					out[name] = text
				}
			}
			if err != nil {
				out = map[string]string{"error": err.Error() + "\n"}
			}
			if *update {
				archive.Files = archive.Files[:1]
				for _, name := range []string{"machine.cue", "left", "notes", "error"} {
					if out[name] != "" {
						archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(out[name])})
					}
				}
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func lines(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(list, "\n") + "\n"
}

// TestGuideUpgrades imports the snippets of the KubeSpan guide, in every format.
func TestGuideUpgrades(t *testing.T) {
	for _, snippet := range []string{"secrets.yaml", "enable.yaml"} {
		data, err := os.ReadFile(filepath.Join("../load/testdata/seed", snippet))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"machine.cue", "machine.yaml", "machine.json"} {
			got, err := Import(name, schema.Source{Name: snippet, Data: data}, bytes.NewReader(make([]byte, 64)))
			if err != nil {
				t.Errorf("%s as %s: %v", snippet, name, err)
				continue
			}
			config, err := load.Config(name, got.Data)
			if err != nil || !config.KubeSpan().Enabled || !config.Cluster.Discovery.Enabled || config.Cluster.Secret.IsZero() {
				t.Errorf("%s as %s: %v\n%s", snippet, name, err, got.Data)
			}
		}
	}
}

func FuzzImport(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		got, err := Import("machine.cue", schema.Source{Name: "talos.yaml", Data: data}, bytes.NewReader(make([]byte, 64)))
		var problems schema.Problems
		switch {
		case err == nil:
			if _, err := load.Config("machine.cue", got.Data); err != nil {
				t.Errorf("the result is not valid: %v", err)
			}
		case !errors.As(err, &problems):
			t.Errorf("the error is %T: %v", err, err)
		}
	})
}
