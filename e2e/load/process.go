package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The limits of all servers, for every build: rates are off, and a cluster may have as many
// members as join in a measurement.
var serveFlags = []string{"--rate-per-address", "0", "--rate-per-cluster", "0", "--max-affiliates", "10000", "--max-watchers", "12000"}

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

// process is a program that was started.
type process struct {
	cmd *exec.Cmd
	// ended is closed after the program has.
	ended chan struct{}
	err   error
}

// launch starts a program, and waits until it has written text. The kernel kills it when
// this program ends.
func launch(ctx context.Context, text, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	output := &textFinder{text: text, found: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	select {
	case <-output.found:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s: %w: %s", program, p.err, output)
	}
}

// stop asks the process to end, and waits until it has.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// cpu returns the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
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

// memory is that of a process, in bytes.
type memory struct{ resident, anonymous, most int }

// memory returns the memory that the process has, and the most that was resident.
func (p *process) memory() (memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int{"VmRSS": &m.resident, "RssAnon": &m.anonymous, "VmHWM": &m.most}[name]
		if into == nil {
			continue
		}
		kibibytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		if err != nil {
			return memory{}, fmt.Errorf("/proc/%d/status: %w", p.cmd.Process.Pid, err)
		}
		*into = kibibytes << 10
	}
	return m, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// server is a discovery server on loopback.
type server struct {
	*process
	address string
}

// serve starts a server of a build with a store.
func serve(ctx context.Context, binary, store string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := append([]string{"discovery", "serve", "--listen", address, "--store", store}, serveFlags...)
	p, err := launch(ctx, "serving discovery", binary, args...)
	if err != nil {
		return nil, err
	}
	return &server{p, address}, nil
}

// startEtcd starts an etcd without data in dir, and returns its URL.
func startEtcd(ctx context.Context, program, dir string) (url string, p *process, err error) {
	client, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	peer, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	url, peer = "http://"+client, "http://"+peer
	p, err = launch(ctx, "ready to serve client requests", program, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", url,
		"--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--quota-backend-bytes", "4294967296")
	return url, p, err
}
