package harness

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

// Exec runs other programs than spanctl in a machine.
type Exec struct{ m *Machine }

// Finish runs a command to its end, whatever its status.
func (e Exec) Finish(cmd *exec.Cmd) Outcome {
	e.m.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.m.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return Outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), cmd.Args}
}

// Run runs a program, which must succeed, and returns its standard output.
func (e Exec) Run(program string, args ...string) string {
	e.m.t.Helper()
	return e.succeed(e.m.Command(Context(e.m.t), program, args...))
}

// Nodecmd runs a command of package nodecmd, which must succeed, and returns its standard
// output.
func (e Exec) Nodecmd(name string, args ...string) string {
	e.m.t.Helper()
	cmd, err := e.m.Subcommand(Context(e.m.t), name, args...)
	if err != nil {
		e.m.t.Fatal(err)
	}
	return e.succeed(cmd)
}

// StartNodecmd starts a command of package nodecmd beside the test and waits until it is
// ready.
func (e Exec) StartNodecmd(name string, args ...string) *Process {
	e.m.t.Helper()
	cmd, err := e.m.Subcommand(context.WithoutCancel(e.m.t.Context()), name, args...)
	if err != nil {
		e.m.t.Fatal(err)
	}
	p := StartProcess(e.m.t, cmd)
	e.m.t.Cleanup(func() { _ = p.Stop(unix.SIGKILL) }) // the lab does not find one that has left the machine's namespaces
	p.AwaitOutput(nodecmd.Ready)
	return p
}

func (e Exec) succeed(cmd *exec.Cmd) string {
	e.m.t.Helper()
	o := e.Finish(cmd)
	if o.Status != 0 {
		e.m.t.Fatalf("%v on %s: status %d\n%s%s", cmd.Args, e.m.Name, o.Status, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// Get gets a URL from inside of the machine.
func (e Exec) Get(url string) Answer {
	e.m.t.Helper()
	return e.answer(e.Nodecmd("post", url))
}

// Post sends JSON to a URL from inside of the machine.
func (e Exec) Post(url, body string) Answer {
	e.m.t.Helper()
	return e.answer(e.Nodecmd("post", url, body))
}

// answer parses the output of the command "post".
func (e Exec) answer(output string) Answer {
	e.m.t.Helper()
	status, body, _ := strings.Cut(output, " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		e.m.t.Fatal(err)
	}
	return Answer{code, Compact(body)}
}
