package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// tmux is a terminal on a machine, with a shell in it.
type tmux struct {
	t       *testing.T
	machine *harness.Machine
	// dir has the server's socket: the server is this test's own.
	dir string
}

const (
	// prompt is that of the shell.
	prompt = "typed> "
	// lookPause is the time between two looks at the terminal.
	lookPause = 100 * time.Millisecond
)

// startTmux opens a terminal of 80x24 on a machine.
func startTmux(t *testing.T, machine *harness.Machine) *tmux {
	t.Helper()
	harness.SkipInGuest(t, "the guest has no tmux")
	if _, err := exec.LookPath("tmux"); err != nil {
		harness.Unavailable(t, "tmux is missing: install Debian's package tmux")
	}
	term := &tmux{t, machine, t.TempDir()}
	t.Cleanup(func() {
		cmd := term.command("kill-server")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("end tmux: %v: %s", err, out)
		}
	})
	term.run("new-session", "-d", "-x", "80", "-y", "24", "-s", "top", "env", "-u", "NO_COLOR", "PS1="+prompt, "sh")
	term.await(strings.TrimSpace(prompt))
	term.enter(report)
	return term
}

// command returns a command of tmux. It may run after the test's context has ended.
func (x *tmux) command(args ...string) *exec.Cmd {
	cmd := x.machine.Command(context.WithoutCancel(x.t.Context()), "tmux", append([]string{"-f", "/dev/null", "-L", "spanctl"}, args...)...)
	cmd.Env = append(cmd.Env, "TMUX_TMPDIR="+x.dir)
	return cmd
}

func (x *tmux) run(args ...string) string {
	x.t.Helper()
	o := x.machine.Exec.Finish(x.command(args...))
	if o.Status != 0 {
		x.t.Fatalf("tmux %v: status %d\n%s%s", args, o.Status, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// press presses keys, by tmux's names of them.
func (x *tmux) press(keys ...string) {
	x.t.Helper()
	x.run(append([]string{"send-keys", "-t", "top"}, keys...)...)
}

// enter types a line.
func (x *tmux) enter(line string) {
	x.t.Helper()
	x.run("send-keys", "-t", "top", "-l", line)
	x.press("Enter")
}

// screen returns what the terminal shows.
func (x *tmux) screen() string {
	x.t.Helper()
	return x.run("capture-pane", "-p", "-t", "top")
}

// await waits until the terminal shows texts.
func (x *tmux) await(texts ...string) {
	x.t.Helper()
	x.awaitScreen(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

func (x *tmux) awaitScreen(what string, holds func(screen string) bool) {
	x.t.Helper()
	ctx := harness.Context(x.t)
	for {
		screen := x.screen()
		if holds(screen) {
			return
		}
		select {
		case <-ctx.Done():
			x.t.Fatalf("the terminal does not show %s:\n%s", what, screen)
		case <-time.After(lookPause):
		}
	}
}

// report is a function of the shell. It prints the status of the last command, and whether the
// terminal is one that lines are typed at.
const report = `report() { s=$?; case "$(stty -a)" in *-icanon*|*" -echo "*) echo "status=$s raw";; *) echo "status=$s cooked";; esac; }`

// begin types a command on an empty terminal.
func (x *tmux) begin(line string) {
	x.t.Helper()
	x.enter("clear; echo before")
	x.awaitScreen("an empty terminal", func(screen string) bool { return strings.TrimSpace(screen) == "before\n"+strings.TrimSpace(prompt) })
	x.enter(line)
}

// wantRestored waits until the shell has the terminal back, as it was before a command, which has
// ended well.
func (x *tmux) wantRestored(line string) {
	x.t.Helper()
	want := "before\n" + prompt + line + "\n" + strings.TrimSpace(prompt)
	x.awaitScreen(fmt.Sprintf("%q", want), func(screen string) bool { return strings.TrimSpace(screen) == want })
	x.wantShell()
}

// wantShell waits until the shell has the terminal back after a command that has ended well.
func (x *tmux) wantShell() {
	x.t.Helper()
	x.awaitScreen("the shell", func(screen string) bool {
		return strings.HasSuffix(strings.TrimSpace(screen), strings.TrimSpace(prompt))
	})
	if got := strings.TrimSpace(x.run("display-message", "-p", "-t", "top", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")); got != "0 1 0" {
		x.t.Errorf("alternate screen, cursor, mouse: %s", got)
	}
	x.enter("report")
	x.await("\nstatus=0 cooked\n")
}

// child returns the process that the shell runs.
func (x *tmux) child() int {
	x.t.Helper()
	shell := strings.TrimSpace(x.run("display-message", "-p", "-t", "top", "#{pane_pid}"))
	text, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	if err != nil {
		x.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		x.t.Fatalf("the shell's children are %q", text)
	}
	return pid
}

// TestTop looks at a mesh of three in a terminal.
func TestTop(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl top` in a terminal shows a peer that is cut and an agent that is gone, at any size, and leaves the terminal as it was")
	m := harness.StartMesh(t, 3)
	node, cut := m.Machines[0], m.Machines[2]
	x := startTmux(t, node)
	node.CLI.Try("wait", "--for", "healthy", "--timeout", "5m").WantStatus(t, 0)
	line := node.Binary() + " top"

	x.begin(line)
	x.await("node-1     healthy, ", "2/2 up", "\n> node-2  up ", "\n  node-3  up ", "EVENTS", "q quit")
	t.Run("the terminal is resized", func(t *testing.T) {
		x.t = t
		x.run("resize-window", "-t", "top", "-x", "30", "-y", "8")
		x.awaitScreen("a small screen", func(screen string) bool {
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			return len(lines) == 8 && strings.HasPrefix(lines[7], "q quit") && strings.Contains(screen, "\n> node-2  up")
		})
		x.run("resize-window", "-t", "top", "-x", "120", "-y", "40")
		x.awaitScreen("a large screen", func(screen string) bool {
			lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
			return len(lines) == 40 && strings.HasSuffix(lines[39], "p pause")
		})
	})
	t.Run("a peer is cut", func(t *testing.T) {
		x.t = t
		cut.Net.SetLink(false)
		x.await("degraded: 1 warning", "! PeerDown node-3, for ", "More: spanctl explain PeerDown", "1/2 up", "\n  node-3  down ")
		x.press("e")
		x.await("! PeerDown node-3")
		x.press("/")
		x.enter("node-3")
		x.press("Escape")
		x.awaitScreen("only node-3", func(screen string) bool {
			return strings.Contains(screen, "\n> node-3  down ") && !strings.Contains(screen, "node-2  up")
		})
		x.press("Enter")
		x.await("PEER node-3", "ENDPOINTS", cut.Address.String()+":51820", "ROUND-TRIP TIME", "! PeerDown node-3")
		x.press("d")
		x.await("DIFF", "no difference")
		cut.Net.SetLink(true)
		x.press("Escape") // back
		x.await("\n> node-3  up ")
		x.press("Escape") // no filter
		x.await("healthy, ", "2/2 up", "\n  node-2  up ", "\n> node-3  up ")
	})
	t.Run("the agent is gone", func(t *testing.T) {
		x.t = t
		node.Agent.Terminate()
		x.await("no agent: 1 error", "x NoAgent", "nobody answers at ", "`spanctl run`")
		node.Agent.Start()
		x.await("healthy, ", "2/2 up")
	})
	x.t = t
	x.press("q")
	x.wantShell() // what was there before may have changed: tmux wraps it anew
	for name, end := range map[string]func(){
		"q":       func() { x.press("q") },
		"ctrl-c":  func() { x.press("C-c") },
		"SIGTERM": func() { _ = unix.Kill(x.child(), unix.SIGTERM) }, // wantRestored fails where it did not end
	} {
		t.Run(name, func(t *testing.T) {
			x.t = t
			x.begin(line)
			x.await("2/2 up")
			end()
			x.wantRestored(line)
		})
	}
	t.Run("what is no terminal", func(t *testing.T) {
		x.t = t
		for command, want := range map[string]string{
			"TERM=dumb " + line:  `the terminal cannot be drawn on: TERM is "dumb"`,
			line + " </dev/null": "the input is no terminal",
			line + " | cat":      "the output is no terminal",
		} {
			x.begin(command)
			x.await("spanctl: "+want, "`spanctl status`")
		}
	})
}
