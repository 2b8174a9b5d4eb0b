package talos

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

// archive is a Talos config with the way it is imported.
type archive struct {
	*txtar.Archive
	source  schema.Source
	options Options
}

// archives reads testdata. The comment of an archive says what is in it, and has --enable and
// --new-secrets for the options and "CRLF" for line ends.
func archives(t testing.TB) map[string]archive {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	all := map[string]archive{}
	for _, path := range paths {
		parsed, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a := archive{Archive: parsed, source: schema.Source{Name: parsed.Files[0].Name, Data: parsed.Files[0].Data}}
		comment := string(parsed.Comment)
		if strings.Contains(comment, "CRLF") {
			a.source.Data = bytes.ReplaceAll(a.source.Data, []byte("\n"), []byte("\r\n"))
		}
		a.options = Options{Name: "machine.cue", Enable: strings.Contains(comment, "--enable")}
		if strings.Contains(comment, "--new-secrets") {
			a.options.NewSecrets = bytes.NewReader(make([]byte, 64))
		}
		all[path] = a
	}
	return all
}

// parts are the files of an archive that a test writes, in their order.
var parts = []string{"machine.cue", "warnings", "notes", "left", "error"}

// TestImport reads each archive of testdata: a Talos config, and either the new config, the warnings,
// the notes and the list of what was left out, or the error.
func TestImport(t *testing.T) {
	for path, a := range archives(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			want := map[string]string{}
			for _, f := range a.Files[1:] {
				want[f.Name] = string(f.Data)
			}
			got, err := Import(a.source, a.options)
			out := map[string]string{}
			for name, text := range map[string]string{"machine.cue": string(got.Data), "left": lines(got.Left), "notes": lines(got.Notes), "warnings": lines(got.Warnings)} {
				if text != "" {
					out[name] = text
				}
			}
			if err != nil {
				out = map[string]string{"error": err.Error() + "\n"}
			}
			if *update {
				a.Files = a.Files[:1]
				for _, name := range parts {
					if out[name] != "" {
						a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(out[name])})
					}
				}
				if err := os.WriteFile(path, txtar.Format(a.Archive), 0o644); err != nil {
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

// TestEveryFormat imports each archive in every format. All say the same, and begin with the
// machine's settings.
func TestEveryFormat(t *testing.T) {
	for path, a := range archives(t) {
		var first *schema.Config
		for _, name := range []string{"machine.cue", "machine.yaml", "machine.json"} {
			a.options.Name = name
			if a.options.NewSecrets != nil {
				a.options.NewSecrets = bytes.NewReader(make([]byte, 64))
			}
			got, err := Import(a.source, a.options)
			if err != nil {
				break
			}
			config, err := load.Config(name, got.Data)
			if err != nil {
				t.Fatalf("%s as %s: %v", path, name, err)
			}
			if first == nil {
				first = config
			}
			if !reflect.DeepEqual(first, config) {
				t.Errorf("%s as %s says something else than as CUE:\n%s", path, name, got.Data)
			}
			if machine, cluster := bytes.Index(got.Data, []byte("machine")), bytes.Index(got.Data, []byte("\ncluster")); cluster >= 0 && machine > cluster {
				t.Errorf("%s as %s: cluster is before machine:\n%s", path, name, got.Data)
			}
		}
	}
}

// TestGuideUpgrades imports the snippets of the KubeSpan guide, in every format.
func TestGuideUpgrades(t *testing.T) {
	for _, snippet := range []string{"secrets.yaml", "enable.yaml"} {
		data, err := os.ReadFile(filepath.Join("../load/testdata/seed", snippet))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"machine.cue", "machine.yaml", "machine.json"} {
			got, err := Import(schema.Source{Name: snippet, Data: data}, Options{Name: name, Enable: true, NewSecrets: bytes.NewReader(make([]byte, 64))})
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

// TestAHugeConfig imports a config with thousands of other settings and documents.
func TestAHugeConfig(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: v1alpha1\nmachine:\n  files:\n")
	for range 20_000 {
		b.WriteString("    - {content: \"x\", permissions: 0o644, path: /var/x, op: create}\n")
	}
	b.WriteString("  network: {kubespan: {enabled: true, mtu: 1400}}\ncluster: {id: x, secret: AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=, discovery: {enabled: true}}\n")
	for range 1000 {
		b.WriteString("---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: x\n")
	}
	got, err := Import(schema.Source{Name: "worker.yaml", Data: []byte(b.String())}, Options{Name: "machine.cue"})
	if err != nil || len(got.Left) != 1001 || !bytes.Contains(got.Data, []byte("mtu: ")) {
		t.Errorf("%v, %d left out:\n%s", err, len(got.Left), got.Data)
	}
}

func FuzzImport(f *testing.F) {
	for _, a := range archives(f) {
		f.Add(a.source.Data, a.options.Enable, a.options.NewSecrets != nil)
	}
	f.Fuzz(func(t *testing.T, data []byte, enable, secrets bool) {
		if len(data) > 4096 {
			return
		}
		o := Options{Name: "machine.cue", Enable: enable}
		if secrets {
			o.NewSecrets = bytes.NewReader(make([]byte, 64))
		}
		got, err := Import(schema.Source{Name: "talos.yaml", Data: data}, o)
		var problems schema.Problems
		switch {
		case err == nil:
			if _, err := load.Config("machine.cue", got.Data); err != nil {
				t.Errorf("the result is not valid: %v", err)
			}
		case !errors.As(err, &problems):
			t.Errorf("the error is %T: %v", err, err)
		case len(problems) == 0 || problems[0].File != "talos.yaml":
			t.Errorf("the problems are not of the Talos file: %v", err)
		}
	})
}
