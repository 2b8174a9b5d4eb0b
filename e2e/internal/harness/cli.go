package harness

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// CLI runs spanctl commands on a machine.
type CLI struct{ m *Machine }

// Command returns a spanctl command that ends with the test.
func (c CLI) Command(args ...string) *exec.Cmd {
	c.m.t.Helper()
	return c.m.Spanctl(Context(c.m.t), args...)
}

// Try runs a command to its end, whatever its status.
func (c CLI) Try(args ...string) Outcome {
	c.m.t.Helper()
	return c.m.Exec.Finish(c.Command(args...))
}

// TryUnprivileged runs a command without the right to configure the network.
func (c CLI) TryUnprivileged(args ...string) Outcome {
	c.m.t.Helper()
	cmd, err := c.m.Subcommand(Context(c.m.t), "unprivileged", append([]string{c.m.binary}, args...)...)
	if err != nil {
		c.m.t.Fatal(err)
	}
	return c.m.Exec.Finish(cmd)
}

// Run runs a command, which must succeed, and returns its standard output.
func (c CLI) Run(args ...string) string {
	c.m.t.Helper()
	o := c.Try(args...)
	if o.Status != 0 {
		c.m.t.Fatalf("spanctl %s: status %d\n%s%s", strings.Join(args, " "), o.Status, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// Start starts a command beside the test.
func (c CLI) Start(args ...string) *Process {
	c.m.t.Helper()
	// The test's context ends before the lab is closed, which ends the process.
	return StartProcess(c.m.t, c.m.Spanctl(context.WithoutCancel(c.m.t.Context()), args...))
}

// diffPause is the time between two looks at the same plan.
const diffPause = 100 * time.Millisecond

// AwaitNoDiff waits until `spanctl diff` prints nothing. A pass may be under way, and no
// event reports its end.
func (c CLI) AwaitNoDiff() {
	c.m.t.Helper()
	ctx := Context(c.m.t)
	for {
		o := c.Try("diff")
		if o.Status == 0 && o.Stdout == "" {
			return
		}
		if o.Status > 1 {
			c.m.t.Fatalf("diff of %s: status %d\n%s%s", c.m.Name, o.Status, o.Stdout, o.Stderr)
		}
		select {
		case <-ctx.Done():
			c.m.t.Fatalf("diff of %s still has changes:\n%s%s", c.m.Name, o.Stdout, o.Stderr)
		case <-time.After(diffPause):
		}
	}
}

// AwaitDiscovered waits until discovery lists another machine.
func (c CLI) AwaitDiscovered(other *Machine) {
	c.m.t.Helper()
	watch := c.Start("discovery", "watch")
	watch.AwaitOutput(other.Name)
	watch.Terminate()
}
