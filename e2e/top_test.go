package e2e_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestTop looks at a mesh of three in a terminal.
func TestTop(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl top` in a terminal shows a peer that is cut and an agent that is gone, at any size, and leaves the terminal as it was")
	m := harness.NewMesh(t, 3)
	node, cut := m.Machines[0], m.Machines[2]
	x := harness.StartTerminal(t, node)
	m.Start()
	node.CLI.Try("wait", "--for", "healthy", "--timeout", "5m").WantStatus(t, 0)
	line := node.Binary() + " top"

	x.Begin(line)
	x.Await("node-1     healthy, ", "2/2 up", "\n> node-2  up ", "\n  node-3  up ", "EVENTS", "q quit")
	t.Run("the terminal is resized", func(t *testing.T) {
		x.T = t
		x.Resize(30, 8)
		x.AwaitScreen("a small screen", func(screen string) bool {
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			return len(lines) == 8 && strings.HasPrefix(lines[7], "q quit") && strings.Contains(screen, "\n> node-2  up")
		})
		x.Resize(120, 40)
		x.AwaitScreen("a large screen", func(screen string) bool {
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			return len(lines) == 40 && strings.HasSuffix(lines[39], "p pause")
		})
	})
	t.Run("a peer is cut", func(t *testing.T) {
		x.T = t
		cut.Net.SetLink(false)
		x.Await("degraded: 1 warning", "! PeerDown node-3, for ", "More: spanctl explain PeerDown", "1/2 up", "\n  node-3  down ")
		x.Press("e")
		x.Await("! PeerDown node-3")
		x.Press("/")
		x.Enter("node-3")
		x.Press("Escape")
		x.AwaitScreen("only node-3", func(screen string) bool {
			return strings.Contains(screen, "\n> node-3  down ") && !strings.Contains(screen, "node-2  up")
		})
		x.Press("Enter")
		x.Await("PEER node-3", "ENDPOINTS", cut.Address.String()+":51820", "ROUND-TRIP TIME", "! PeerDown node-3")
		x.Press("d")
		x.Await("DIFF", "no difference")
		cut.Net.SetLink(true)
		x.Press("Escape") // back
		x.Await("\n> node-3  up ")
		x.Press("Escape") // no filter
		x.Await("healthy, ", "2/2 up", "\n  node-2  up ", "\n> node-3  up ")
	})
	t.Run("the agent is gone", func(t *testing.T) {
		x.T = t
		node.Agent.Terminate()
		x.Await("no agent: 1 error", "x NoAgent", "nobody answers at ", "`spanctl run`")
		node.Agent.Start()
		x.Await("healthy, ", "2/2 up")
	})
	x.T = t
	x.Press("q")
	x.WantShell() // what was there before may have changed: tmux wraps it anew
	for name, end := range map[string]func(){
		"q":       func() { x.Press("q") },
		"ctrl-c":  func() { x.Press("C-c") },
		"SIGTERM": func() { _ = unix.Kill(x.Child(), unix.SIGTERM) }, // wantRestored fails where it did not end
	} {
		t.Run(name, func(t *testing.T) {
			x.T = t
			x.Begin(line)
			x.Await("2/2 up")
			end()
			x.WantRestored(line)
		})
	}
	t.Run("colours", func(t *testing.T) {
		x.T = t
		for command, want := range map[string]bool{line: true, "NO_COLOR=1 " + line: false} {
			x.Begin(command)
			x.Await("2/2 up")
			if got := strings.Contains(x.Run("capture-pane", "-e", "-p", "-t", "shell"), "\x1b["); got != want {
				t.Errorf("%s: coloured is %t", command, got)
			}
			x.Press("q")
			x.WantRestored(command)
		}
	})
	t.Run("what is no terminal", func(t *testing.T) {
		x.T = t
		for command, want := range map[string]string{
			"TERM=dumb " + line:  `the terminal cannot be drawn on: TERM is "dumb"`,
			line + " </dev/null": "the input is no terminal",
			line + " | cat":      "the output is no terminal",
		} {
			x.Begin(command)
			x.Await("spanctl: "+want, "`spanctl status`")
		}
	})
}
