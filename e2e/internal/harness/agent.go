package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Agent is the process of `spanctl run` on a machine.
type Agent struct {
	// Process is nil before the first start.
	*Process

	machine *Machine
}

// started is what an agent logs when it has begun.
const started = "agent started"

// Start starts the agent.
func (a *Agent) Start() {
	a.machine.t.Helper()
	a.Process = a.machine.CLI.Start("run")
	a.AwaitOutput(started)
}

// StartCommand starts the agent with a command of the test.
func (a *Agent) StartCommand(cmd *exec.Cmd) {
	a.machine.t.Helper()
	a.Process = StartProcess(a.machine.t, cmd)
	a.AwaitOutput(started)
}

// AwaitAfter does something and waits until the agent has logged a text from then on.
func (a *Agent) AwaitAfter(do func(), text string) {
	a.machine.t.Helper()
	from := len(a.Output())
	do()
	a.awaitFrom(from, text)
}

// Memory returns the agent's own resident memory, without the pages of its program.
func (a *Agent) Memory() string {
	a.machine.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.PID()))
	if err != nil {
		a.machine.t.Fatal(err)
	}
	_, resident, _ := strings.Cut(string(text), "RssAnon:")
	resident, _, _ = strings.Cut(resident, "\n")
	return strings.TrimSpace(resident)
}
