// Package evaluatetest tells tests of the processes that evaluate configs: when one begins, and
// when it ends.
package evaluatetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
)

// Main is called by a TestMain before anything else. In a process that evaluates it tells the
// parent's Children, evaluates, and exits.
func Main() {
	if !evaluate.IsChild(os.Args[1:]) {
		return
	}
	// The connection ends with the process.
	conn, err := net.Dial("unix", nameOf(os.Getppid()))
	if err == nil {
		_ = binary.Write(conn, binary.NativeEndian, int64(os.Getpid())) // the test may be over
	}
	os.Exit(evaluate.Main(os.Stdin, os.Stdout))
}

// nameOf returns the socket of a process's Children. The kernel removes it with the network
// namespace or the listener (unix(7), abstract sockets).
func nameOf(parent int) string { return fmt.Sprintf("@spanctl-evaluate-%d", parent) }

// Children are the processes of a parent that evaluate.
type Children struct {
	t        *testing.T
	listener net.Listener
}

// Child is one of them.
type Child struct {
	PID  int
	t    *testing.T
	conn net.Conn
}

// Of returns the processes that evaluate for a parent from now on.
func Of(t *testing.T, parent int) *Children {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", nameOf(parent))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &Children{t, listener}
}

// Await waits for a process that has begun and has not ended.
func (c *Children) Await() *Child {
	c.t.Helper()
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			c.t.Fatal(err)
		}
		var pid int64
		err = binary.Read(conn, binary.NativeEndian, &pid)
		// The parent has waited for those that have ended.
		if err != nil || errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) {
			_ = conn.Close()
			continue
		}
		c.t.Cleanup(func() { _ = conn.Close() })
		return &Child{int(pid), c.t, conn}
	}
}

// AwaitEnd waits until the process has ended.
func (c *Child) AwaitEnd() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.conn); err != nil {
		c.t.Fatal(err)
	}
}
