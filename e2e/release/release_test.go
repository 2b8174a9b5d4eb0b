package release_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// version is the release that the tests cut.
const version = "v0.2.0"

// repository is a scratch repository of two modules, ready for the release.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t, t.TempDir()}
	r.write("schema/go.mod", "module github.com/spanmesh/span/schema\n\ngo 1.26.0\n")
	r.write("cmd/spanctl/go.mod", `module github.com/spanmesh/span/cmd/spanctl

go 1.26.0

replace github.com/spanmesh/span/schema => ../../schema

require github.com/spanmesh/span/schema v0.0.0-00010101000000-000000000000
`)
	r.write("schema/machine.cue", "#A: {\n\told: int @since(0.1.0)\n\tnew: int @since(unreleased)\n}\n")
	r.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- a thing\n\n## [0.1.0] - 2026-11-01\n\n- the first\n")
	r.git("init", "--quiet", "--initial-branch", "main")
	r.git("config", "user.name", "Test")
	r.git("config", "user.email", "test@example.com")
	r.commit()
	r.git("tag", "--annotate", "--message", "v0.1.0", "v0.1.0")
	if out, err := r.release("prepare", version, "true"); err != nil {
		t.Fatalf("prepare: %v: %s", err, out)
	}
	r.commit()
	return r
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// replace replaces a text in a file and commits that.
func (r *repository) replace(name, old, text string) {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		r.t.Fatalf("%s has no %q:\n%s", name, old, data)
	}
	r.write(name, strings.Replace(string(data), old, text, 1))
	r.commit()
}

func (r *repository) commit() {
	r.t.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--message", "change")
}

func (r *repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

// release runs tools/release in the repository with a command as its linter.
func (r *repository) release(action, version, lint string) (string, error) {
	r.t.Helper()
	script, err := filepath.Abs("../../tools/release")
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.CommandContext(r.t.Context(), script, action, version, "schema", "cmd/spanctl")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "LINT="+lint)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *repository) tags() []string { return strings.Fields(r.git("tag", "--list")) }

func TestEveryModuleIsTagged(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	out, err := r.release("tag", version, "true")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(out, "git push origin main v0.2.0 schema/v0.2.0 cmd/spanctl/v0.2.0\n") {
		t.Errorf("the push command is not printed:\n%s", out)
	}
	if got, want := r.tags(), []string{"cmd/spanctl/v0.2.0", "schema/v0.2.0", "v0.1.0", "v0.2.0"}; !slices.Equal(got, want) {
		t.Errorf("the tags are %v, want %v", got, want)
	}
	if kind := strings.TrimSpace(r.git("cat-file", "-t", "schema/v0.2.0")); kind != "tag" {
		t.Errorf("schema/v0.2.0 is a %s, want an annotated tag", kind)
	}
}

func TestReleaseFollowsItsCandidate(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.git("tag", "--annotate", "--message", "candidate", "v0.2.0-rc.1")
	if out, err := r.release("tag", version, "true"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNothingIsTagged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version, lint string
		change              func(*repository)
		want                string
	}{
		{"no version", "", "true", nil, "is no version like v1.2.3"},
		{"no semantic version", "v1.2", "true", nil, "is no version like v1.2.3"},
		{"an old version", "v0.0.9", "true", nil, "is not greater than v0.1.0"},
		{"the last version again", "v0.1.0", "true", nil, "the tag v0.1.0 exists"},
		{"another branch", version, "true", func(r *repository) { r.git("switch", "--quiet", "--create", "feature") }, "this is feature"},
		{"a change that is not committed", version, "true", func(r *repository) { r.write("new", "") }, "is not clean"},
		{"no section in the changelog", version, "true", func(r *repository) { r.replace("CHANGELOG.md", "## [0.2.0] - ", "## [0.2.1] - ") }, "CHANGELOG.md has no section"},
		{"a section without a date", version, "true", func(r *repository) { r.replace("CHANGELOG.md", "2026-12-01", "soon") }, "CHANGELOG.md has no section"},
		{"a section without an entry", version, "true", func(r *repository) { r.replace("CHANGELOG.md", "- a thing", "") }, "CHANGELOG.md has no section"},
		{"a module requires another at an old version", version, "true", func(r *repository) { r.replace("cmd/spanctl/go.mod", "schema v0.2.0", "schema v0.1.0") }, "make release-prepare"},
		{"a setting has no version", version, "true", func(r *repository) { r.replace("schema/machine.cue", "@since(0.2.0)", "@since(unreleased)") }, "make release-prepare"},
		{"lint fails", version, "false", nil, "lint failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			if c.change != nil {
				c.change(r)
			}
			out, err := r.release("tag", c.version, c.lint)
			if err == nil {
				t.Errorf("no error:\n%s", out)
			}
			if !strings.Contains(out, c.want) {
				t.Errorf("no %q in\n%s", c.want, out)
			}
			if got := r.tags(); !slices.Equal(got, []string{"v0.1.0"}) {
				t.Errorf("the tags are %v", got)
			}
		})
	}
}
