package netlinkapply

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// probePort binds a new listen port for a test before anything is changed. Userspace WireGuard
// closes the old port first and would be left without any.
func probePort(ctx context.Context, c state.LinkChange) error {
	l := c.New
	if c.Old.ListenPort == l.ListenPort {
		return nil
	}
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", net.JoinHostPort("", strconv.Itoa(l.ListenPort)))
	if err != nil {
		return explainPort(l.ListenPort, fmt.Errorf("bind the listen port: %w", err))
	}
	return conn.Close()
}

// explainPort gives the error of a port that is in use its condition.
func explainPort(port int, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return &condition.Error{Condition: portTaken(port, findOwner(port)), Err: err}
	}
	return err
}

// owner is who has a port.
type owner struct {
	// found is set if a socket has the port in this network namespace.
	found bool
	// name and pid are those of its process; pid is 0 if that is not known.
	name string
	pid  int
	// kernel is set if the socket is the kernel's own.
	kernel bool
}

func portTaken(port int, o owner) condition.Condition {
	c := condition.Condition{Code: condition.PortTaken, Subject: fmt.Sprintf("UDP %d", port),
		Cause: fmt.Sprintf("UDP port %d is in use by another program", port)}
	free := fmt.Sprintf("end it, or set machine.network.kubespan.listenPort to another port than %d", port)
	switch {
	case o.pid != 0:
		c.Cause += fmt.Sprintf(": %s, process %d", o.name, o.pid)
	case o.kernel:
		c.Cause = fmt.Sprintf("UDP port %d is in use by another program's link in the kernel, such as one of WireGuard", port)
		free = fmt.Sprintf("`wg show all listen-port` and `ip -details link` show the link: remove it, or set machine.network.kubespan.listenPort to another port than %d", port)
	case o.found:
		c.Cause += ", which cannot be seen from here"
	default:
		c.Cause += ", or by a WireGuard link that was moved to another network namespace"
	}
	c.Remedy = free
	return c
}

// findOwner looks in /proc for who has a UDP port of this network namespace.
func findOwner(port int) owner {
	var inodes []string
	var o owner
	for _, table := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join("/proc/thread-self/net", table))
		if err != nil {
			continue
		}
		inodes = append(inodes, socketsAt(string(text), port)...)
	}
	for _, inode := range inodes {
		o.found = true
		if inode == "0" { // sock_create_kern
			o.kernel = true
			continue
		}
		if name, pid := processWith("/proc", "socket:["+inode+"]"); pid != 0 {
			return owner{found: true, name: name, pid: pid}
		}
	}
	return o
}

// socketsAt returns the inodes of the sockets in a /proc/net/udp that have a local port (proc(5)).
func socketsAt(table string, port int) (inodes []string) {
	const local, inode = 1, 9
	for lines := bufio.NewScanner(strings.NewReader(table)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode {
			continue
		}
		_, number, _ := strings.Cut(fields[local], ":")
		if n, err := strconv.ParseUint(number, 16, 16); err == nil && int(n) == port {
			inodes = append(inodes, fields[inode])
		}
	}
	return inodes
}

// processWith returns the process below proc that has a file open that is a link to target; 0 for
// none that this process may see.
func processWith(proc, target string) (name string, pid int) {
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return "", 0
	}
	for _, file := range files {
		if to, err := os.Readlink(file); err != nil || to != target {
			continue
		}
		process := filepath.Dir(filepath.Dir(file))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(process, "comm"))
		return cmp.Or(strings.TrimSpace(string(comm)), "unknown"), pid
	}
	return "", 0
}
