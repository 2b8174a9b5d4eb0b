package main

import (
	"os"
	"testing"

	cue "cuelang.org/go/cmd/cue/cmd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spanmesh/span/cmd/spanctl/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// What users have beside it.
		"cue":     func() { os.Exit(cue.Main()) },
		"spanctl": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands that need no network, as a user types them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SPANCTL_CONFIG", env.WorkDir+"/machine.cue")
			env.Setenv("SPANCTL_STATE_DIR", env.WorkDir+"/state")
			env.Setenv("SPANCTL_SOCKET", env.WorkDir+"/sock")
			return nil
		},
	})
}
