package detached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const variable = "SPANCTL_TEST_INHERITED"

// TestMain runs the processes of these tests: their arguments are a directory, a name and what they do.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "process" {
		if err := program(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func program(dir, name, what string) error {
	if !Inherited(variable) {
		return Spawn(variable, filepath.Join(dir, name+".log"))
	}
	if what == "fail" {
		return Ready(variable, errors.New("the reason"))
	}
	if what == "die" {
		os.Exit(3)
	}
	if what == "stubborn" {
		signal.Ignore(unix.SIGTERM)
	}
	if what == "slow" {
		save, err := os.Open(filepath.Join(dir, "save"))
		if err != nil {
			return err
		}
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, unix.SIGTERM)
		go func() {
			<-ended
			_, _ = io.ReadAll(save) // until the test closes it
			_ = os.WriteFile(filepath.Join(dir, "saved"), nil, 0o600)
			os.Exit(0)
		}()
	}
	socket, err := Listen(dir, name)
	if err != nil {
		return err
	}
	if err := Ready(variable, nil); err != nil {
		return err
	}
	return socket.Serve(context.Background(), func(_ *net.UnixConn, request []byte) []byte {
		return fmt.Appendf(nil, "%d %s", os.Getpid(), request)
	})
}

func start(t *testing.T, dir, name, what string) error {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = Start(t.Context(), []string{executable, "process", dir, name, what})
	t.Cleanup(func() { _ = End(context.Background(), dir, name) })
	return err
}

// ask returns the ID of the process that answers.
func ask(t *testing.T, dir, name string) *Process {
	t.Helper()
	answer, err := Call(t.Context(), dir, name, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	number, rest, _ := strings.Cut(string(answer), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || rest != "hello" {
		t.Fatalf("the answer is %q", answer)
	}
	p, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestProcessOutlivesItsStarter(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"short path": t.TempDir(),
		"long path":  filepath.Join(t.TempDir(), strings.Repeat("x", 100), strings.Repeat("y", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Call(t.Context(), dir, "one", nil); !errors.Is(err, ErrNone) {
				t.Errorf("before the start: %v", err)
			}
			if err := start(t, dir, "one", "serve"); err != nil {
				t.Fatal(err)
			}
			p := ask(t, dir, "one")
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
			if fields := strings.Fields(string(stat)); err != nil || fields[3] == strconv.Itoa(os.Getpid()) || fields[5] != fields[0] {
				t.Errorf("it is a child or in a session of its starter: %s %v", stat, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "one.sock")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the socket is %v %v", info, err)
			}
			if names := Names(dir); len(names) != 1 || names[0] != "one" {
				t.Errorf("the names are %v", names)
			}
			if err := End(t.Context(), dir, "one"); err != nil || !p.Ended() || len(Names(dir)) != 0 {
				t.Errorf("after the end: %v, ended %v, left %v", err, p.Ended(), Names(dir))
			}
		})
	}
}

func TestReasonIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := start(t, dir, "one", "fail"); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("the error is %v", err)
	}
	if err := start(t, dir, "one", "die"); err == nil || !strings.Contains(err.Error(), "one.log") {
		t.Errorf("the error is %v", err)
	}
}

func TestProcessEndsWithItsSocket(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"removed":   func(dir string) error { return os.Remove(filepath.Join(dir, "one.sock")) },
		"directory": os.RemoveAll,
		"replaced":  func(dir string) error { return start(t, dir, "one", "serve") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := start(t, dir, "one", "serve"); err != nil {
				t.Fatal(err)
			}
			p := ask(t, dir, "one")
			if err := lose(dir); err != nil {
				t.Fatal(err)
			}
			if !p.AwaitEnd(t.Context()) {
				t.Error("it goes on")
			}
		})
	}
}

func TestStoppedAndStubbornProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, what := range map[string]string{"stopped": "serve", "ignores": "stubborn"} {
		if err := start(t, dir, name, what); err != nil {
			t.Fatal(err)
		}
	}
	p := ask(t, dir, "stopped")
	if err := unix.Kill(p.PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A signal may arrive after kill has returned.
	for deadline := time.Now().Add(endTimeout); StateOf(p.PID) != "T"; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("its state is %q", StateOf(p.PID))
		}
	}
	var hangs *UnresponsiveError
	if _, err := Call(t.Context(), dir, "stopped", nil); !errors.As(err, &hangs) || hangs.PID != p.PID || hangs.State != "T" {
		t.Errorf("the error is %v", err)
	}
	other := ask(t, dir, "ignores")
	for name, p := range map[string]*Process{"stopped": p, "ignores": other} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := End(t.Context(), dir, name); err != nil || !p.Ended() {
				t.Errorf("%v, ended %v", err, p.Ended())
			}
		})
	}
}

// TestNoTimeToWait has a caller that does not wait for a process that saves what it knows.
func TestNoTimeToWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "save")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	save, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := start(t, dir, "one", "slow"); err != nil {
		t.Fatal(err)
	}
	p := ask(t, dir, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := End(ctx, dir, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := save.Close(); err != nil {
		t.Fatal(err)
	}
	if !p.AwaitEnd(t.Context()) {
		t.Error("it goes on")
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); err != nil {
		t.Errorf("it had no time to save: %v", err)
	}
}

func TestLongMessagesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := start(t, dir, "one", "serve"); err != nil {
		t.Fatal(err)
	}
	if _, err := Call(t.Context(), dir, "one", make([]byte, MaxMessage+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("the error is %v", err)
	}
}
