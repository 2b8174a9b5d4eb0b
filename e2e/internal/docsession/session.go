package docsession

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// blocks matches a block of a document: its indentation, its language and its text.
var blocks = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")

// inline matches a command in a sentence that can be typed as it stands.
var inline = regexp.MustCompile("`(spanctl [a-z0-9 ./-]+)`")

// Block is a block of a document, without its indentation.
type Block struct{ Language, Text string }

// Read returns the text of a document. The path is relative to the workspace.
func Read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Blocks returns the blocks of a document.
func Blocks(text string) []Block {
	var found []Block
	for _, b := range blocks.FindAllStringSubmatch(text, -1) {
		found = append(found, Block{b[2], regexp.MustCompile("(?m)^"+b[1]).ReplaceAllString(b[3], "")})
	}
	return found
}

// Session is a shell on a machine of somebody who follows a document.
type Session struct {
	*harness.Machine
	// Dir is the working directory.
	Dir string
	// Commands counts the commands that were typed.
	Commands int

	t *testing.T
}

// New starts a session on a machine, in a directory of its own.
func New(t *testing.T, machine *harness.Machine) *Session {
	return &Session{Machine: machine, Dir: filepath.Join(machine.Dir, "home"), t: t}
}

// Put writes a file in the working directory.
func (s *Session) Put(path, text string) {
	s.t.Helper()
	path = filepath.Join(s.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Type runs a line as it stands, expects that it succeeds and returns its output. A
// server and the agent keep running, as in another terminal. A command that watches is
// ended after its first line.
func (s *Session) Type(line string) string {
	s.t.Helper()
	line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
	line = strings.TrimSuffix(strings.TrimSpace(line), " &")
	s.Commands++
	switch {
	case strings.Contains(line+" ", " serve ") && !strings.Contains(line, "--help"):
		harness.StartProcess(s.t, s.shell(s.t.Context(), "exec "+line)).AwaitOutput("serving discovery")
		return ""
	case line == "spanctl run":
		s.Agent.StartCommand(s.shell(s.t.Context(), "exec "+line))
		return ""
	case strings.Contains(line, " watch ") || strings.HasSuffix(line, " -w"):
		p := harness.StartProcess(s.t, s.shell(s.t.Context(), "exec "+line))
		p.AwaitOutput("\n")
		p.Terminate()
		return ""
	case strings.HasSuffix(line, "/Watch"):
		p := harness.StartProcess(s.t, s.shell(s.t.Context(), "exec "+line))
		p.AwaitOutput(`"events":`)
		p.Kill()
		return "{}"
	}
	o := s.Try(line)
	if o.Status != 0 && (o.Status != 1 || !strings.Contains(line, "spanctl diff")) {
		s.t.Errorf("%s: status %d\n%s%s", line, o.Status, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// TypeAll runs the lines of a block.
func (s *Session) TypeAll(text string) {
	s.t.Helper()
	for line := range strings.Lines(text) {
		s.Type(line)
	}
}

// TypeInline runs the commands that are named in the sentences of a document.
func (s *Session) TypeInline(text string) {
	s.t.Helper()
	for _, found := range inline.FindAllStringSubmatch(text, -1) {
		switch found[1] {
		case "spanctl run": // the agent runs already
		case "spanctl top": // it takes a terminal
		default:
			s.Type(found[1])
		}
	}
}

// Try runs a line to its end, whatever its status.
func (s *Session) Try(line string) harness.Outcome {
	s.t.Helper()
	return s.Exec.Finish(s.shell(harness.Context(s.t), line))
}

// shell returns a command that runs a line in the working directory.
func (s *Session) shell(ctx context.Context, line string) *exec.Cmd {
	s.t.Helper()
	bin := filepath.Join(s.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(s.Binary(), filepath.Join(bin, "spanctl")); err != nil && !os.IsExist(err) {
		s.t.Fatal(err)
	}
	cmd := s.Command(ctx, "sh", "-c", fmt.Sprintf("cd %s && PATH=%s:$PATH && %s", s.Dir, bin, line))
	cmd.Env = append(cmd.Env, "EDITOR=true")
	return cmd
}
