package evaluate

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// self is the binary of this process, also after another took its place on disk.
	self = "/proc/self/exe"
	// maxAnswer is the size of the largest answer that is read, in bytes.
	maxAnswer = 64 << 20
	// killTimeout is how long a child that was killed is waited for. One that waits for a
	// disk or a network ends later.
	killTimeout = time.Second
	// childVariable is set in the environment of a child.
	childVariable = "SPANCTL_EVALUATES"
)

// run starts a child and returns how it ended. Its error is that of ctx, or of a child that
// could not be started.
func run(ctx context.Context, r Request, l Limits) (ended, error) {
	var in bytes.Buffer
	if err := r.write(&in, l); err != nil {
		return ended{}, fmt.Errorf("encode the request: %w", err)
	}
	within, stop := context.WithTimeout(ctx, l.Wait)
	defer stop()
	type outcome struct {
		end ended
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		// The child is killed when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		end, err := start(within, &in)
		done <- outcome{end, err}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-within.Done():
		select {
		case o = <-done:
		case <-time.After(killTimeout):
		}
	}
	end := o.end
	if ctx.Err() != nil && end.answer == nil {
		return end, ctx.Err()
	}
	if o.err != nil {
		return end, fmt.Errorf("start the process that evaluates configs: %w", o.err)
	}
	end.limits = l
	end.overdue = end.answer == nil && within.Err() != nil
	return end, nil
}

// start runs a child until it ended or ctx did.
func start(ctx context.Context, in *bytes.Buffer) (ended, error) {
	if os.Getenv(childVariable) != "" {
		return ended{}, errors.New("this process is such a process itself: it must call evaluate.Main")
	}
	// What this process was started with stays with it.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	out := &bounded{left: maxAnswer}
	cmd := exec.CommandContext(ctx, self, Command)
	cmd.Args[0] = os.Args[0]
	cmd.Env = environment(os.Environ())
	cmd.Stdin, cmd.Stdout = in, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = killTimeout
	if err := cmd.Start(); err != nil {
		return ended{}, err
	}
	_ = cmd.Wait() // its state and its answer say more
	end := ended{status: cmd.ProcessState.String(), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		end.memory = uint64(usage.Maxrss) << 10
	}
	var a answer
	if gob.NewDecoder(&out.data).Decode(&a) == nil {
		end.answer = &a
	}
	return end, nil
}

// bounded keeps what is written to it, up to a size.
type bounded struct {
	data bytes.Buffer
	left int
}

var errTooLong = errors.New("the answer is too long")

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLong
	}
	return b.data.Write(p)
}

// environment returns what a child needs of an environment: where CUE looks, and nothing that
// may be a secret.
func environment(all []string) []string {
	env := []string{childVariable + "=1", "GOMAXPROCS=" + processors}
	for _, one := range all {
		name, _, _ := strings.Cut(one, "=")
		switch {
		case name == "HOME", name == "GOCOVERDIR", name == "GORACE", strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "CUE_"):
			env = append(env, one)
		}
	}
	return env
}
