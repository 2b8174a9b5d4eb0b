package schema

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestTalosImports reads each archive of testdata/talos: a Talos config, and what comes
// of it, what is left out, and what is said.
func TestTalosImports(t *testing.T) {
	archives, err := filepath.Glob("testdata/talos/*.txtar")
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
			got, err := ImportTalos("machine.cue", Source{archive.Files[0].Name, archive.Files[0].Data}, bytes.NewReader(make([]byte, 64)))
			out := map[string]string{}
			for name, text := range map[string]string{"machine.cue": string(got.Data), "left": lines(got.Left), "notes": lines(got.Notes)} {
				if text != "" {
					out[name] = text
				}
			}
			if err != nil {
				out = map[string]string{"error": err.Error() + "\n"}
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
		data, err := os.ReadFile(filepath.Join("testdata/seed", snippet))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"machine.cue", "machine.yaml", "machine.json"} {
			got, err := ImportTalos(name, Source{snippet, data}, bytes.NewReader(make([]byte, 64)))
			if err != nil {
				t.Errorf("%s as %s: %v", snippet, name, err)
				continue
			}
			config, err := Load(name, got.Data)
			if err != nil || !config.KubeSpan().Enabled || !config.Cluster.Discovery.Enabled || config.Cluster.Secret.IsZero() {
				t.Errorf("%s as %s: %v\n%s", snippet, name, err, got.Data)
			}
		}
	}
}

func FuzzImportTalos(f *testing.F) {
	archives, err := filepath.Glob("testdata/talos/*.txtar")
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
		got, err := ImportTalos("machine.cue", Source{"talos.yaml", data}, bytes.NewReader(make([]byte, 64)))
		var problems Problems
		switch {
		case err == nil:
			if _, err := Load("machine.cue", got.Data); err != nil {
				t.Errorf("the result is not valid: %v", err)
			}
		case !errors.As(err, &problems):
			t.Errorf("the error is %T: %v", err, err)
		}
	})
}
