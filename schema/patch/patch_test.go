package patch

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// TestApply reads each archive of testdata: a config, one patch or more, and at the end the
// result: "want" for a text that was edited, "want-twice" for one that the same patches change
// again, "want-rewritten" for a text that was generated again, "want-error" for an error.
func TestApply(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for i, path := range archives {
		if archives[i], err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	// The directory must not be in a CUE module.
	t.Chdir(t.TempDir())
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := archive.Files
			base, want := files[0], files[len(files)-1]
			var patches []schema.Source
			for _, f := range files[1 : len(files)-1] {
				patches = append(patches, schema.Source{Name: f.Name, Data: f.Data})
			}
			got, err := Apply(schema.Source{Name: base.Name, Data: base.Data}, patches...)
			text := string(got.Data)
			if err != nil {
				text = err.Error() + "\n"
			}
			if *update {
				files[len(files)-1].Data = []byte(text)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want.Data), text); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if wanted := want.Name == "want-rewritten"; got.Rewritten != wanted {
				t.Errorf("rewritten: %v", got.Rewritten)
			}
			again, err := Apply(got.Source, patches...)
			if err == nil && want.Name == "want" && string(again.Data) != string(got.Data) {
				t.Errorf("once more it changes to:\n%s", again.Data)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(filepath.Ext(archive.Files[0].Name), archive.Files[0].Data, archive.Files[1].Data)
	}
	texts, err := filepath.Glob("testdata/corpus/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range texts {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, patch := range []string{
			`machine: network: kubespan: {mtu: 1300, filters: endpoints: ["a"], enabled: null}`, `cluster: {id: {a: [1, {b: 2}]}, discovery: null, "x y": ""}`, `machine: null`,
			`cluster: discovery: registries: static: peers: [{name: "laptop", allowedIPs: ["x"]}, {name: "phone", "$patch": "delete"}]`,
		} {
			f.Add(filepath.Ext(path), data, []byte(patch))
		}
	}
	f.Fuzz(func(t *testing.T, extension string, base, patch []byte) {
		if len(base)+len(patch) > 4096 || bytes.Contains(base, []byte("import")) || bytes.Contains(patch, []byte("import")) {
			return
		}
		got, err := Apply(schema.Source{Name: "fuzz" + extension, Data: base}, schema.Source{Name: "patch.cue", Data: patch})
		if err != nil {
			if err.Error() == "" {
				t.Error("the error has no message")
			}
			return
		}
		if _, err := load.Data(got.Source); err != nil {
			t.Errorf("the result cannot be read: %v\n%s", err, got.Data)
		}
	})
}
