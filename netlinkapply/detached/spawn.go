package detached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startTimeout is how long a process may take to be ready, on a busy machine.
const startTimeout = 30 * time.Second

// maxReason is the longest reason of a process that could not start, in bytes.
const maxReason = 4096

// firstFile is the first file descriptor that a process inherits.
const firstFile = 3

// Start runs command, which must call Spawn, and returns when the process is ready.
func Start(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var output bytes.Buffer
	cmd.Stderr = &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String()))
	}
	return nil
}

// Spawn runs the command of this process once more, in a session of its own, and returns when it
// is ready. Variable is the environment variable by which Inherited knows it. The process writes its
// errors to the file log, and inherits files as file descriptors from 3 on.
func Spawn(variable, log string, files ...*os.File) error {
	output, err := openLog(log)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	ready, signal, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(executable, os.Args[1:]...)
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(firstFile+len(files)))
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = append(slices.Clone(files), signal)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), signal.Close()); err != nil {
		return err
	}
	if err := awaitReady(ready); err != nil {
		_ = cmd.Process.Kill() // it may have been stopped
		_ = cmd.Wait()
		err = fmt.Errorf("it did not start: %w", err)
		if reason := (*reasonError)(nil); errors.As(err, &reason) {
			return err // the log has no more
		}
		return fmt.Errorf("%w; see %s", err, log)
	}
	return cmd.Process.Release()
}

// awaitReady waits for the process to call Ready. If it ends before, there is nothing to read.
func awaitReady(ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	text := make([]byte, maxReason)
	n, err := ready.Read(text)
	switch {
	case n == 0:
		return err
	case text[0] != readyMark:
		return &reasonError{string(text[:n])}
	default:
		return nil
	}
}

// reasonError is why a process cannot serve, as it says itself.
type reasonError struct{ text string }

func (e *reasonError) Error() string { return e.text }

// readyMark is what a process sends that is ready; one that is not sends the reason.
const readyMark = 1

// Inherited reports whether this process is one that Spawn has started, with the variable that it
// was given there.
func Inherited(variable string) bool { return os.Getenv(variable) != "" }

// Ready reports to Spawn that this process serves, or, with an error, why it cannot.
func Ready(variable string, failure error) error {
	number, err := strconv.Atoi(os.Getenv(variable))
	if err != nil {
		return fmt.Errorf("environment variable %s: %w", variable, err)
	}
	if err := os.Unsetenv(variable); err != nil {
		return err
	}
	ready := os.NewFile(uintptr(number), "ready")
	text := []byte{readyMark}
	if failure != nil {
		text = []byte(failure.Error())
		text = text[:min(len(text), maxReason)]
	}
	_, err = ready.Write(text)
	return errors.Join(err, ready.Close())
}

// openLog opens the log of a process. Where the disk takes none, what goes wrong is not kept, and the
// process runs all the same.
func openLog(path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return log, err
}
