package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Process is a program that runs beside the test, and its output.
type Process struct {
	cmd *exec.Cmd
	out *transcript
	// ended is closed when the process has ended, with err.
	ended chan struct{}
	err   error
}

// Start starts cmd and keeps its standard output and error.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, out: &transcript{grown: make(chan struct{})}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process has printed so far.
func (p *Process) Output() string { return p.out.String() }

// Await waits until the process has printed text at or after the position from, and returns
// the position behind it.
func (p *Process) Await(ctx context.Context, from int, text string) (int, error) {
	for {
		said, grown := p.out.after(from)
		if i := strings.Index(said, text); i >= 0 {
			return from + i + len(text), nil
		}
		select {
		case <-grown:
		case <-p.ended:
			if said, _ := p.out.after(from); strings.Contains(said, text) {
				continue
			}
			return from, fmt.Errorf("%s ended (%w) without printing %q; its output:\n%s", p.cmd.Args, p.err, text, p.Output())
		case <-ctx.Done():
			return from, fmt.Errorf("waiting for %q: %w; so far:\n%s", text, ctx.Err(), p.Output())
		}
	}
}

// Stop sends a signal and waits for the process to end.
func (p *Process) Stop(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return err
	}
	<-p.ended
	return p.err
}

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Wait waits until the process ends.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w; so far:\n%s", p.cmd.Args, ctx.Err(), p.Output())
	}
}

// transcript keeps what is written to it and reports growth.
type transcript struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{}
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.grown)
	t.grown = make(chan struct{})
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *transcript) after(from int) (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()[min(from, t.text.Len()):], t.grown
}
