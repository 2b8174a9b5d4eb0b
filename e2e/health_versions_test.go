package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// anotherVersion returns a copy of the program that says that it is of another version.
func anotherVersion(t *testing.T, binary, version string) (path, other string) {
	t.Helper()
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	other = "v0.0.1-" + strings.Repeat("x", len(version))
	other = other[:len(version)]
	if !bytes.Contains(program, []byte(version)) {
		t.Fatalf("the program does not have its version %q", version)
	}
	path = filepath.Join(t.TempDir(), "spanctl")
	if err := os.WriteFile(path, bytes.ReplaceAll(program, []byte(version), []byte(other)), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, other
}

func TestVersionsThatDifferAreNamed(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines that run another version are named, and the mesh is healthy")
	m := harness.StartMesh(t, 1)
	node := m.Machines[0]
	node.CLI.Try("wait", "--for", "ready", "--timeout", "5m").WantStatus(t, 0)
	var is struct{ Version string }
	if err := json.Unmarshal([]byte(node.CLI.Try("status", "-o", "json").Stdout), &is); err != nil {
		t.Fatal(err)
	}
	version := is.Version
	path, other := anotherVersion(t, node.Binary(), version)
	older := m.Join(m.Add("older"))
	older.Agent.StartCommand(older.Command(context.WithoutCancel(t.Context()), path, "run"))
	node.CLI.Try("wait", "--for", "condition=VersionsDiffer", "--timeout", "5m").WantStatus(t, 0)
	node.CLI.Try("wait", "--for", "healthy", "--timeout", "5m").WantStatus(t, 0)
	node.CLI.Try("status").WantStatus(t, 0).WantStdout(t, "i VersionsDiffer, for ", other+" on older")
	node.CLI.Try("get", "members", "-o", "wide").WantStdout(t, other, version)
	older.CLI.Try("wait", "--for", "condition=VersionsDiffer", "--timeout", "5m").WantStatus(t, 0)
	older.CLI.Run("down")
	node.CLI.Try("wait", "--for", "condition=VersionsDiffer=false", "--timeout", "5m").WantStatus(t, 0)
}
