package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/netnstest"
)

// subcommandVariable names the subcommand that a process of this program runs.
const subcommandVariable = "SPANCTL_LAB_SUBCOMMAND"

// Subcommand is what this program does inside of a node.
type Subcommand func(args []string) error

// Main runs program in namespaces of its own. A process that Node.Subcommand started
// runs its subcommand instead. Main returns the exit status.
func Main(subcommands map[string]Subcommand, program func() int) int {
	name := os.Getenv(subcommandVariable)
	if name == "" {
		return netnstest.Main(program)
	}
	run, ok := map[string]Subcommand{subcommandHold: hold, subcommandPing: ping, subcommandWrite: write}[name]
	if !ok {
		run, ok = subcommands[name]
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown subcommand %q\n", name)
		return 1
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// subcommandHold holds the namespaces of a node. Its argument is the node's name.
const subcommandHold = "hold"

// ready is what the holder prints when the node exists.
const ready = "ready\n"

// hold makes a machine of fresh namespaces and holds them until its standard input
// ends. Then it kills what still runs in them.
func hold(args []string) error {
	if err := unix.Sethostname([]byte(args[0])); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := netnstest.Prepare(); err != nil {
		return err
	}
	if _, err := io.WriteString(os.Stdout, ready); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return endAll()
}

// namespaces are those that a node has of its own. A process of the node may have left one of them.
var namespaces = []string{"net", "uts"}

// endAll kills the other processes that are in a namespace of the node. All belong to the lab.
func endAll() error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var failures error
	for _, process := range processes {
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || pid == os.Getpid() || !sharesNamespace(process) {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			failures = errors.Join(failures, err)
		}
	}
	return failures
}

// sharesNamespace reports whether a process, named by its directory in /proc, is in a namespace of this
// node.
func sharesNamespace(process string) bool {
	for _, kind := range namespaces {
		own, err := os.Readlink(filepath.Join("/proc/self/ns", kind))
		if err != nil {
			continue
		}
		if other, err := os.Readlink(filepath.Join(process, "ns", kind)); err == nil && other == own {
			return true
		}
	}
	return false
}

// subcommandWrite writes the text args[1] to the file args[0].
const subcommandWrite = "write"

func write(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o600) }

// Write writes text to a file inside of the node, such as a setting of its kernel.
func (n *Node) Write(path, text string) error {
	cmd, err := n.Subcommand(context.Background(), subcommandWrite, path, text)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s in %s: %w: %s", path, n.Name, err, out)
	}
	return nil
}
