package harness

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// Process is a program that runs beside the test.
type Process struct {
	*lab.Process
	t *testing.T
}

// StartProcess starts a command. The lab ends it at the latest when it is closed.
func StartProcess(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return &Process{p, t}
}

// AwaitOutput waits until the process has printed a text.
func (p *Process) AwaitOutput(text string) {
	p.t.Helper()
	p.awaitFrom(0, text)
}

// awaitFrom waits until the process has printed a text after the first bytes.
func (p *Process) awaitFrom(bytes int, text string) {
	p.t.Helper()
	if _, err := p.Await(Context(p.t), bytes, text); err != nil {
		p.t.Fatal(err)
	}
}

// Terminate sends SIGTERM. The process must end with status 0.
func (p *Process) Terminate() {
	p.t.Helper()
	if err := p.Stop(unix.SIGTERM); err != nil {
		p.t.Fatalf("%v: %s", err, p.Output())
	}
}

// Interrupt sends SIGINT, as ^C does. The process must end with status 0.
func (p *Process) Interrupt() {
	p.t.Helper()
	if err := p.Stop(unix.SIGINT); err != nil {
		p.t.Fatalf("%v: %s", err, p.Output())
	}
}

// Kill sends SIGKILL. The process must still run.
func (p *Process) Kill() {
	p.t.Helper()
	var exit *exec.ExitError
	if err := p.Stop(unix.SIGKILL); !errors.As(err, &exit) || exit.Exited() {
		p.t.Fatalf("the process had ended before it was killed: %v\n%s", err, p.Output())
	}
}

// Outcome is what a command came to.
type Outcome struct {
	Stdout, Stderr string
	Status         int
	command        []string
}

func (o Outcome) failed(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Errorf("%s: "+format+"\nstatus %d\nstdout:\n%s\nstderr:\n%s",
		append(append([]any{strings.Join(o.command, " ")}, args...), o.Status, o.Stdout, o.Stderr)...)
}

// WantStatus fails the test unless the command ended with the status.
func (o Outcome) WantStatus(t *testing.T, want int) Outcome {
	t.Helper()
	if o.Status != want {
		o.failed(t, "status %d, want %d", o.Status, want)
	}
	return o
}

// WantStdout fails the test for each text that the standard output does not contain.
func (o Outcome) WantStdout(t *testing.T, wants ...string) Outcome {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(o.Stdout, want) {
			o.failed(t, "stdout has no %q", want)
		}
	}
	return o
}

// WantStderr fails the test for each text that the standard error does not contain.
func (o Outcome) WantStderr(t *testing.T, wants ...string) Outcome {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(o.Stderr, want) {
			o.failed(t, "stderr has no %q", want)
		}
	}
	return o
}

// WantNoStderr fails the test if the standard error contains the text.
func (o Outcome) WantNoStderr(t *testing.T, text string) Outcome {
	t.Helper()
	if strings.Contains(o.Stderr, text) {
		o.failed(t, "stderr has %q", text)
	}
	return o
}

// WantOutput fails the test unless the standard output is the text.
func (o Outcome) WantOutput(t *testing.T, want string) Outcome {
	t.Helper()
	if o.Stdout != want {
		o.failed(t, "stdout is not %q", want)
	}
	return o
}
