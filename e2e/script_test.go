package e2e_test

import (
	"context"
	"embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// scripts are embedded, since the guest has the test program only.
//
//go:embed testdata/script
var scripts embed.FS

// TestOperations runs the scripts of testdata/script on a machine of a mesh of two, with an
// agent and without.
func TestOperations(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "every operation on configs, with an agent and without")
	dir := t.TempDir()
	if err := os.CopyFS(dir, scripts); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "testdata/script/*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no scripts in testdata/script")
	}
	for _, file := range files {
		for _, agent := range []bool{true, false} {
			name := strings.TrimSuffix(filepath.Base(file), ".txtar") + map[bool]string{true: " with an agent", false: " without an agent"}[agent]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				operate(t, file, agent)
			})
		}
	}
}

func operate(t *testing.T, file string, agent bool) {
	m := harness.NewMesh(t, 2)
	m.Serve()
	node, other := m.Machines[0], m.Machines[1]
	other.Agent.Start()
	node.CLI.AwaitDiscovered(other)
	if agent {
		node.Agent.Start()
		node.API.AwaitPeersUp(1)
	} else {
		node.CLI.Run("apply", "-f", node.Config(), "--immediate")
	}
	address := node.Net.MeshAddress()
	testscript.Run(t, testscript.Params{
		Files: []string{file},
		Setup: func(env *testscript.Env) error {
			return os.WriteFile(filepath.Join(env.WorkDir, "first.cue"), []byte(m.Config), 0o600)
		},
		Condition: func(condition string) (bool, error) {
			if condition != "agent" {
				return false, errors.New("no such condition")
			}
			return agent, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"spanctl": func(ts *testscript.TestScript, fails bool, args []string) {
				runScripted(harness.Context(t), node, ts, fails, args)
			},
			// stored compares the config file with a file of the script.
			"stored": func(ts *testscript.TestScript, _ bool, args []string) {
				if got, want := node.Files.Config(), ts.ReadFile(args[0]); got != want {
					ts.Fatalf("the stored config is\n%s", got)
				}
			},
			// has reports whether the machine's network has something of that name.
			"has": func(ts *testscript.TestScript, fails bool, args []string) {
				if network := node.Net.Inventory(); strings.Contains(network, args[0]) == fails {
					ts.Fatalf("the network is\n%s", network)
				}
			},
			// reaches pings this machine from the other, until there is an answer.
			"reaches": func(ts *testscript.TestScript, fails bool, _ []string) {
				if fails {
					if !other.Packets.Blocked(address) {
						ts.Fatalf("the other machine reaches this one")
					}
					return
				}
				_, err := other.Ping(harness.Context(t), address)
				ts.Check(err)
			},
		},
	})
}

// runScripted runs spanctl in the machine for a script.
func runScripted(ctx context.Context, m *harness.Machine, ts *testscript.TestScript, fails bool, args []string) {
	line := append([]string{"-c", `cd "$0" && exec "$@"`, ts.MkAbs("."), m.Binary()}, args...)
	cmd := m.Command(ctx, "sh", line...)
	cmd.Env = append(cmd.Env, "EDITOR="+ts.Getenv("EDITOR"))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		ts.Fatalf("spanctl: %v", err)
	case err == nil && fails:
		ts.Fatalf("spanctl %s should fail", strings.Join(args, " "))
	case err != nil && !fails:
		ts.Fatalf("spanctl %s: %v", strings.Join(args, " "), err)
	}
}
