package schema

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestPatches reads each archive of testdata/patch: a config, one patch or more, and
// under the config's name with "want-" before it what comes of them.
func TestPatches(t *testing.T) {
	archives, err := filepath.Glob("testdata/patch/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for i, path := range archives {
		if archives[i], err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	// Away from the schema's own module.
	t.Chdir(t.TempDir())
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := archive.Files
			base, want := files[0], files[len(files)-1]
			var patches []Source
			for _, f := range files[1 : len(files)-1] {
				patches = append(patches, Source{f.Name, f.Data})
			}
			got, err := Patch(Source{base.Name, base.Data}, patches...)
			text := string(got.Data)
			if err != nil {
				text = err.Error() + "\n"
			}
			if diff := cmp.Diff(string(want.Data), text); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if wanted := want.Name == "want-rewritten"; got.Rewritten != wanted {
				t.Errorf("rewritten: %v", got.Rewritten)
			}
			again, err := Patch(got.Source, patches...)
			if err == nil && want.Name == "want" && string(again.Data) != string(got.Data) {
				t.Errorf("once more it changes to:\n%s", again.Data)
			}
		})
	}
}

func FuzzPatch(f *testing.F) {
	archives, err := filepath.Glob("testdata/patch/*.txtar")
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
	f.Fuzz(func(t *testing.T, extension string, base, patch []byte) {
		if len(base)+len(patch) > 4096 || bytes.Contains(base, []byte("import")) || bytes.Contains(patch, []byte("import")) {
			return
		}
		got, err := Patch(Source{"fuzz" + extension, base}, Source{"patch.cue", patch})
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if _, err := dataOf(got.Source); err != nil {
			t.Errorf("the result cannot be read: %v\n%s", err, got.Data)
		}
	})
}
