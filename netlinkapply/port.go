package netlinkapply

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
		return &condition.Error{Condition: portTaken(port, FindPortOwner(port)), Err: err}
	}
	return err
}

// PortOwner is who has a UDP port. The zero value is that of a free port.
type PortOwner struct {
	// Found is set if a socket has the port in this network namespace.
	Found bool
	// Name and PID are those of its process; PID is 0 if that is not known.
	Name string
	PID  int
	// Kernel is set if the socket is the kernel's own.
	Kernel bool
	// Hidden is set if there are processes whose sockets cannot be seen.
	Hidden bool
}

func portTaken(port int, o PortOwner) condition.Condition {
	c := condition.Condition{Code: condition.PortTaken, Subject: fmt.Sprintf("UDP %d", port),
		Cause: fmt.Sprintf("UDP port %d is in use by another program", port)}
	free := fmt.Sprintf("end it, or set machine.network.kubespan.listenPort to another port than %d", port)
	switch {
	case o.PID != 0:
		c.Cause += fmt.Sprintf(": %s, process %d", o.Name, o.PID)
	case o.Kernel:
		c.Cause = fmt.Sprintf("UDP port %d is in use by another program's link in the kernel, such as one of WireGuard", port)
		free = fmt.Sprintf("`wg show all listen-port` and `ip -details link` show the link: remove it, or set machine.network.kubespan.listenPort to another port than %d", port)
	case o.Found:
		c.Cause += ", which cannot be seen from here"
	default:
		c.Cause += ", or by a WireGuard link that was moved to another network namespace"
	}
	c.Remedy = free
	return c
}

// FindPortOwner looks in /proc for who has a UDP port of this network namespace.
func FindPortOwner(port int) PortOwner {
	var inodes []string
	var o PortOwner
	for _, table := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join("/proc/thread-self/net", table))
		if err != nil {
			continue
		}
		inodes = append(inodes, socketsAt(string(text), port)...)
	}
	sockets := map[string]bool{}
	for _, inode := range inodes {
		o.Found = true
		if inode == "0" { // sock_create_kern
			o.Kernel = true
			continue
		}
		sockets["socket:["+inode+"]"] = true
	}
	if len(sockets) > 0 {
		o.Name, o.PID, o.Hidden = processWith("/proc", sockets)
	}
	if o.PID != 0 {
		o.Kernel = false
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

// processWith returns the process below proc that has one of some sockets open; 0 for none that this
// process may see. Hidden is set if there are others.
func processWith(proc string, sockets map[string]bool) (name string, pid int, hidden bool) {
	processes, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return "", 0, true // not reached: the pattern is valid
	}
	for _, process := range processes {
		files, err := os.ReadDir(filepath.Join(process, "fd"))
		hidden = hidden || errors.Is(err, fs.ErrPermission)
		for _, file := range files {
			to, err := os.Readlink(filepath.Join(process, "fd", file.Name()))
			if err != nil || !sockets[to] {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(process))
			if err != nil {
				continue
			}
			comm, _ := os.ReadFile(filepath.Join(process, "comm"))
			return cmp.Or(strings.TrimSpace(string(comm)), "unknown"), pid, false
		}
	}
	return "", 0, hidden
}
