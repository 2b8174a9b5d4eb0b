// Package process starts programs that are measured, and reads what they use from /proc.
package process

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// clockTick is the unit of processor times in /proc: 100 a second on all of Linux.
	clockTick = 10 * time.Millisecond
	// stopTimeout is how long a process may take to end.
	stopTimeout = 20 * time.Second
)

// textFinder keeps what is written to it, and closes found when that contains text.
type textFinder struct {
	mu     sync.Mutex
	output bytes.Buffer
	text   string
	found  chan struct{}
}

func (w *textFinder) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.output.String(), w.text)
	w.output.Write(b)
	if !before && strings.Contains(w.output.String(), w.text) {
		close(w.found)
	}
	return len(b), nil
}

func (w *textFinder) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.output.String()
}

// Process is a program that was started. The kernel kills it when the thread that started it
// ends: callers lock theirs.
type Process struct {
	cmd *exec.Cmd
	// ended is closed after the program has.
	ended chan struct{}
	err   error
}

// Start starts cmd.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Launch starts a program, and waits until it has written text. If it ends instead, the error
// has what it wrote. The program is killed when ctx ends.
func Launch(ctx context.Context, text, program string, args ...string) (*Process, error) {
	output := &textFinder{text: text, found: make(chan struct{})}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = output, output
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-output.found:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s: %w: %s", program, p.err, output)
	}
}

// Stop asks the process to end, and waits until it has. It kills one that takes 20 seconds.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Wait waits until the process has ended by itself. It stops one that takes 20 seconds.
func (p *Process) Wait() {
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.Stop()
	}
}

// Kill kills the process, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// CPU returns the processor time that the process has used, in steps of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may contain spaces. The state follows it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 11, 12
	total := 0
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", p.cmd.Process.Pid, err)
		}
		total += n
	}
	return time.Duration(total) * clockTick, nil
}

// Memory is that of a process, in bytes.
type Memory struct {
	// Resident is what it has in memory, Anonymous the part that is of no file, and Most the
	// most that was resident.
	Resident, Anonymous, Most int
}

// Memory returns the memory that the process has.
func (p *Process) Memory() (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous, "VmHWM": &m.Most}[name]
		if into == nil {
			continue
		}
		kibibytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		if err != nil {
			return Memory{}, fmt.Errorf("/proc/%d/status: %w", p.cmd.Process.Pid, err)
		}
		*into = kibibytes << 10
	}
	return m, nil
}

// FreeAddress returns an address of loopback with a TCP port that is free now.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
