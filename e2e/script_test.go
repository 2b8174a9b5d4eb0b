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
)

// scripts are in the program, since the guest has that alone.
//
//go:embed testdata/script
var scripts embed.FS

// TestOperations runs the scripts of testdata/script, which read like a manual, on a
// machine of a mesh of two: once with an agent, once without.
func TestOperations(t *testing.T) {
	scenario(t, "every operation on configs, with an agent and without")
	dir := t.TempDir()
	if err := os.CopyFS(dir, scripts); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "testdata/script/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		for _, agent := range []bool{true, false} {
			name := strings.TrimSuffix(filepath.Base(file), ".txtar") + map[bool]string{true: " with an agent", false: " without an agent"}[agent]
			t.Run(name, func(t *testing.T) { operate(t, file, agent) })
		}
	}
}

func operate(t *testing.T, file string, agent bool) {
	m := newMesh(t, 2)
	m.serve()
	node, other := m.machines[0], m.machines[1]
	other.startAgent()
	node.awaitDiscovered(other)
	ctx := withPatience(t)
	if agent {
		node.startAgent()
		node.awaitUp(1)
	} else {
		node.run("apply", "-f", node.Config(), "--immediate")
	}
	address := node.linkAddress()
	testscript.Run(t, testscript.Params{
		Files: []string{file},
		Setup: func(env *testscript.Env) error {
			return os.WriteFile(filepath.Join(env.WorkDir, "first.cue"), []byte(m.config), 0o600)
		},
		Condition: func(condition string) (bool, error) {
			if condition != "agent" {
				return false, errors.New("no such condition")
			}
			return agent, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"spanctl": func(ts *testscript.TestScript, fails bool, args []string) {
				node.scripted(ctx, ts, fails, args)
			},
			// stored compares a file with the config that is stored.
			"stored": func(ts *testscript.TestScript, _ bool, args []string) {
				if got, want := node.stored(), ts.ReadFile(args[0]); got != want {
					ts.Fatalf("the stored config is\n%s", got)
				}
			},
			// reaches has the other machine ping this one through the tunnel, until there
			// is an answer.
			"reaches": func(ts *testscript.TestScript, fails bool, _ []string) {
				if fails {
					if other.answers(address) {
						ts.Fatalf("the other machine reaches this one")
					}
					return
				}
				_, err := other.Ping(ctx, address)
				ts.Check(err)
			},
		},
	})
}

// scripted runs spanctl in the machine for a script.
func (m *machine) scripted(ctx context.Context, ts *testscript.TestScript, fails bool, args []string) {
	line := append([]string{"-c", `cd "$0" && exec "$@"`, ts.MkAbs("."), m.binary}, args...)
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
