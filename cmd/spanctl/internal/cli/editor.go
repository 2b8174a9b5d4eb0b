package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// editorTimeout is how long an editor may take to end when spanctl is to end.
const editorTimeout = 2 * time.Second

// fallbackEditors are used where the environment names none, the first that there is.
var fallbackEditors = []string{"vi", "nano", "editor"}

// editorCommand returns the user's editor, which may have arguments of its own.
func editorCommand(s streams) (string, error) {
	if editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR")); editor != "" {
		return editor, nil
	}
	if !isTerminal(s.in) {
		return "", errors.New("there is no terminal for an editor: set $VISUAL or $EDITOR to a program that needs none, or use `spanctl patch`")
	}
	for _, editor := range fallbackEditors {
		if _, err := exec.LookPath(editor); err == nil {
			return editor, nil
		}
	}
	return "", errors.New("there is no editor: set $VISUAL or $EDITOR")
}

// isTerminal reports whether a stream is a terminal, at which a user may be.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// openEditor runs an editor on a file. SIGINT is the editor's own matter: users type it in some.
// SIGTERM and the end of the terminal end it.
func openEditor(ctx context.Context, s streams, editor, path string) error {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), unix.SIGTERM, unix.SIGHUP)
	defer stop()
	// The shell would end as by SIGINT too, once the editor has ended well. What is trapped, and not
	// ignored, reaches the editor.
	run := exec.CommandContext(ctx, "sh", "-c", "trap : INT QUIT\n"+editor+` "$1"`, "sh", path)
	run.Stdin, run.Stdout, run.Stderr = s.in, s.out, behind(s.err)
	run.Cancel = func() error { return run.Process.Signal(unix.SIGTERM) }
	run.WaitDelay = editorTimeout
	err := run.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the editor %q: %w", editor, err)
	}
	return nil
}
