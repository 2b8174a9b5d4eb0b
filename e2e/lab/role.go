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

// roleVariable tells a process of this program what it is to be.
const roleVariable = "SPANCTL_LAB_ROLE"

// Role is what this program does inside of a node.
type Role func(args []string) error

// Main runs program in namespaces of its own, or, where this process is to be
// something inside of a node, that. It returns the exit status.
func Main(roles map[string]Role, program func() int) int {
	name := os.Getenv(roleVariable)
	if name == "" {
		return netnstest.Main(program)
	}
	role, ok := map[string]Role{roleHold: hold, rolePing: ping, roleWrite: write}[name]
	if !ok {
		role, ok = roles[name]
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "there is no role %q\n", name)
		return 1
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// roleHold is the holder's role: its argument is the node's name.
const roleHold = "hold"

// ready is what the holder says when the node is there.
const ready = "ready\n"

// hold makes a machine of fresh namespaces and holds them until its standard
// input ends. Then it ends whatever runs in them.
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

// endAll kills the other processes of this network namespace, which are all the
// lab's: the namespace is.
func endAll() error {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return err
	}
	var failures error
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if namespace, err := os.Readlink(link); err == nil && namespace == own {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				failures = errors.Join(failures, err)
			}
		}
	}
	return failures
}

// roleWrite writes the text args[1] to the file args[0], such as a setting of the
// node's kernel.
const roleWrite = "write"

func write(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o600) }

// Write writes text to a file as it is inside of the node.
func (n *Node) Write(path, text string) error {
	cmd, err := n.Role(context.Background(), roleWrite, path, text)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s in %s: %w: %s", path, n.Name, err, out)
	}
	return nil
}
