package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Terminal is a terminal on a machine, with a shell in it.
type Terminal struct {
	// T is the test that waits.
	T       *testing.T
	machine *Machine
	// dir has the server's socket: the server is this test's own.
	dir string
}

const (
	// prompt is that of the shell.
	prompt = "typed> "
	// lookPause is the time between two looks at the terminal.
	lookPause = 100 * time.Millisecond
)

// StartTerminal opens a terminal of 80x24 on a machine.
func StartTerminal(t *testing.T, machine *Machine) *Terminal {
	t.Helper()
	SkipInGuest(t, "the guest has no tmux")
	if _, err := exec.LookPath("tmux"); err != nil {
		Unavailable(t, "tmux is missing: install Debian's package tmux")
	}
	term := &Terminal{t, machine, t.TempDir()}
	t.Cleanup(func() {
		cmd := term.command("kill-server")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("end tmux: %v: %s", err, out)
		}
	})
	term.Run("new-session", "-d", "-x", "80", "-y", "24", "-s", "shell", "env", "-u", "NO_COLOR", "PS1="+prompt, "sh")
	term.Await(strings.TrimSpace(prompt))
	term.Enter(report)
	return term
}

// command returns a command of tmux. It may run after the test's context has ended.
func (x *Terminal) command(args ...string) *exec.Cmd {
	cmd := x.machine.Command(context.WithoutCancel(x.T.Context()), "tmux", append([]string{"-f", "/dev/null", "-L", "spanctl"}, args...)...)
	cmd.Env = append(cmd.Env, "TMUX_TMPDIR="+x.dir)
	return cmd
}

// Run runs a command of tmux, which must succeed, and returns its output.
func (x *Terminal) Run(args ...string) string {
	x.T.Helper()
	o := x.machine.Exec.Finish(x.command(args...))
	if o.Status != 0 {
		x.T.Fatalf("tmux %v: status %d\n%s%s", args, o.Status, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// Press presses keys, by tmux's names of them.
func (x *Terminal) Press(keys ...string) {
	x.T.Helper()
	x.Run(append([]string{"send-keys", "-t", "shell"}, keys...)...)
}

// Enter types a line.
func (x *Terminal) Enter(line string) {
	x.T.Helper()
	x.Run("send-keys", "-t", "shell", "-l", line)
	x.Press("Enter")
}

// Resize gives the terminal another size.
func (x *Terminal) Resize(columns, lines int) {
	x.T.Helper()
	x.Run("resize-window", "-t", "shell", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(lines))
}

// Screen returns what the terminal shows. A line that is longer than the terminal is wide is one
// line.
func (x *Terminal) Screen() string {
	x.T.Helper()
	lines := strings.Split(x.Run("capture-pane", "-J", "-p", "-t", "shell"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// Await waits until the terminal shows texts.
func (x *Terminal) Await(texts ...string) {
	x.T.Helper()
	x.AwaitScreen(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// AwaitScreen waits until the terminal shows what is asked for, which has a name for people.
func (x *Terminal) AwaitScreen(what string, holds func(screen string) bool) {
	x.T.Helper()
	ctx := Context(x.T)
	for {
		screen := x.Screen()
		if holds(screen) {
			return
		}
		select {
		case <-ctx.Done():
			x.T.Fatalf("the terminal does not show %s:\n%s", what, screen)
		case <-time.After(lookPause):
		}
	}
}

// report is a function of the shell. It prints the status of the last command, and whether the
// terminal is one that lines are typed at.
const report = `report() { s=$?; case "$(stty -a)" in *-icanon*|*" -echo "*) echo "status=$s raw";; *) echo "status=$s cooked";; esac; }`

// Begin types a command on an empty terminal.
func (x *Terminal) Begin(line string) {
	x.T.Helper()
	x.Enter("clear; echo before")
	x.AwaitScreen("an empty terminal", func(screen string) bool { return strings.TrimSpace(screen) == "before\n"+strings.TrimSpace(prompt) })
	x.Enter(line)
}

// WantRestored waits until the shell has the terminal back, as it was before a command, which has
// ended well.
func (x *Terminal) WantRestored(line string) {
	x.T.Helper()
	want := "before\n" + prompt + line + "\n" + strings.TrimSpace(prompt)
	x.AwaitScreen(fmt.Sprintf("%q", want), func(screen string) bool { return strings.TrimSpace(screen) == want })
	x.WantShell()
}

// WantShell waits until the shell has the terminal back after a command that has ended well.
func (x *Terminal) WantShell() {
	x.T.Helper()
	x.AwaitScreen("the shell", func(screen string) bool {
		return strings.HasSuffix(strings.TrimSpace(screen), strings.TrimSpace(prompt))
	})
	if got := strings.TrimSpace(x.Run("display-message", "-p", "-t", "shell", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")); got != "0 1 0" {
		x.T.Errorf("alternate screen, cursor, mouse: %s", got)
	}
	x.Enter("report")
	x.Await("\nstatus=0 cooked\n")
}

// Child returns the process that the shell runs.
func (x *Terminal) Child() int {
	x.T.Helper()
	shell := strings.TrimSpace(x.Run("display-message", "-p", "-t", "shell", "#{pane_pid}"))
	text, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	if err != nil {
		x.T.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		x.T.Fatalf("the shell's children are %q", text)
	}
	return pid
}
