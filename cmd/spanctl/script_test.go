package main

import (
	"os"
	"path/filepath"
	"testing"

	cue "cuelang.org/go/cmd/cue/cmd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spanmesh/span/cmd/spanctl/internal/cli"
	"github.com/spanmesh/span/netlinkapply/netnstest"
)

// TestMain runs the tests in a network namespace of their own: agents and other tests of this
// machine may hold the lock of the same link.
func TestMain(m *testing.M) {
	commands := map[string]func(){
		// What users have beside it.
		"cue":     func() { os.Exit(cue.Main()) },
		"spanctl": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	}
	if _, is := commands[filepath.Base(os.Args[0])]; is {
		testscript.Main(m, commands)
	}
	os.Exit(netnstest.Main(func() int {
		testscript.Main(m, commands) // it exits
		return 1
	}))
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
