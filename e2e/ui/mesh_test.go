package ui_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// reach is a program in place of ssh: it runs spanctl for the machine that it is told, whose socket
// is in that machine's directory. e2e/ssh has sshd.
const reach = `#!/bin/sh
shift # --
export SPANCTL_SOCKET="$LAB/$1/sock"
shift 2 # the host, spanctl
exec "$BINARY" "$@"
`

// mesh is a mesh of five.
type mesh struct{ *harness.Mesh }

// startMesh starts a mesh of five.
func startMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{harness.StartMesh(t, 5)}
	m.AwaitUp()
	return m
}

// serve starts `spanctl ui` on the first machine's agent, in this process's namespaces, which the
// browser shares, until the test ends, and returns it with the URL that it prints.
func (m *mesh) serve(t *testing.T, args ...string) (ui *harness.Process, url string) {
	t.Helper()
	cmd := m.Machines[0].Outside(t.Context(), m.Machines[0].Binary(), append([]string{"ui"}, args...)...)
	script := filepath.Join(m.Dir, "reach")
	if err := os.WriteFile(script, []byte(reach), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "SPANCTL_SSH="+script, "LAB="+m.Dir, "BINARY="+m.Machines[0].Binary(), "PATH="+m.Dir+":"+os.Getenv("PATH"))
	ui = harness.StartProcess(t, cmd)
	ui.AwaitOutput("opens the page in one browser")
	for line := range strings.Lines(ui.Output()) {
		if strings.HasPrefix(line, "http://127.0.0.1:") {
			return ui, strings.TrimSpace(line)
		}
	}
	t.Fatalf("no URL is printed:\n%s", ui.Output())
	return nil, ""
}

// desktop puts a program in place of xdg-open(1), and returns what waits until it is run and returns its
// argument.
func (m *mesh) desktop(t *testing.T) (opened func() string) {
	t.Helper()
	pipe := filepath.Join(m.Dir, "opened")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" > \"$LAB/opened\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() string {
		path, err := os.ReadFile(pipe)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(string(path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s, %v: want a file for its user alone", path, err)
		}
		return string(path)
	}
}
