package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/lab"
)

// Commands are what a program that calls Run does inside of the lab's nodes, beside
// attack.Commands.
var Commands = map[string]lab.Subcommand{
	commandMount: mountDisk,
	commandFill:  fillDisk,
	commandFree:  freeDisk,
}

// Commands on the disk at the path args[0].
const (
	commandMount = "soak-mount"
	commandFill  = "soak-fill"
	commandFree  = "soak-free"
)

// diskSize is the size of the disk of the server's store, as tmpfs(5) has it.
const diskSize = "size=32m"

func mountDisk(args []string) error {
	if err := os.Mkdir(args[0], 0o700); err != nil {
		return err
	}
	return unix.Mount("tmpfs", args[0], "tmpfs", 0, diskSize)
}

// ballast is the path of the file that fills the disk.
func ballast(disk string) string { return filepath.Join(disk, "ballast") }

func fillDisk(args []string) error {
	file, err := os.OpenFile(ballast(args[0]), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for block := make([]byte, os.Getpagesize()); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return file.Close()
}

func freeDisk(args []string) error { return os.Remove(ballast(args[0])) }

// server is the discovery server on a disk of its own.
type server struct {
	arena   *attack.Arena
	disk    string
	address string
	process *lab.Process
}

const port = "3000"

// newServer makes the disk and starts the server.
func newServer(ctx context.Context, arena *attack.Arena) (*server, error) {
	s := &server{arena: arena, disk: filepath.Join(arena.Discovery.Dir, "disk"), address: net.JoinHostPort(arena.Discovery.Address.String(), port)}
	if err := s.onDisk(ctx, commandMount); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// onDisk runs a command on the disk.
func (s *server) onDisk(ctx context.Context, command string) error {
	cmd, err := s.arena.Discovery.Subcommand(ctx, command, s.disk)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// starting bounds the start of a server.
const starting = 30 * time.Second

func (s *server) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), starting)
	defer cancel()
	// The server outlives ctx.
	cmd := s.arena.Discovery.Spanctl(context.WithoutCancel(ctx), "discovery", "serve", "--listen", ":"+port, "--insecure",
		"--store", "bolt:"+filepath.Join(s.disk, "discovery.db"), "--rate-per-address", "0", "--rate-per-cluster", "0")
	if s.process, err = lab.Start(cmd); err != nil {
		return err
	}
	_, err = s.process.Await(ctx, 0, "serving discovery")
	return err
}

// kill ends the server with SIGKILL.
func (s *server) kill() { _ = s.process.Stop(unix.SIGKILL) }

// terminate ends the server with SIGTERM.
func (s *server) terminate() error {
	if err := s.process.Stop(unix.SIGTERM); err != nil {
		return fmt.Errorf("the server ended on SIGTERM with %w:\n%s", err, s.process.Output())
	}
	return nil
}

// get returns the status and the text of a page.
func (s *server) get(ctx context.Context, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// readiness bounds how long the readiness probe may take to change.
const readiness = 30 * time.Second

// awaitReadiness waits until the readiness probe answers with a status.
func (s *server) awaitReadiness(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeout(ctx, readiness)
	defer cancel()
	for {
		status, text, err := s.get(ctx, "/readyz")
		if status == want {
			return nil
		}
		if !attack.Pause(ctx, watchAgain) {
			return fmt.Errorf("/readyz answers %d %s (%w), want %d", status, strings.TrimSpace(text), err, want)
		}
	}
}

// use is what a server uses.
type use struct {
	// resident is its resident memory, in bytes.
	resident int64
	// goroutines and files are its numbers of goroutines and open files.
	goroutines, files int
}

func (u use) String() string {
	return fmt.Sprintf("%d MiB resident, %d goroutines, %d open files", u.resident>>20, u.goroutines, u.files)
}

// measure returns what the server uses at rest. It reads the metrics many times, because the
// Go runtime frees memory of a server that is used sooner.
func (s *server) measure(ctx context.Context) (u use, err error) {
	for range 100 {
		_, text, err := s.get(ctx, "/metrics")
		if err != nil {
			return use{}, err
		}
		u.goroutines, u.files = metric(text, "go_goroutines"), metric(text, "process_open_fds")
	}
	u.resident, err = attack.Resident(s.process.PID())
	return u, err
}

// metric returns a value of Prometheus' text format, or 0.
func metric(text, name string) int {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n)
		}
	}
	return 0
}
