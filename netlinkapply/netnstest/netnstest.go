// Package netnstest runs a test binary in network and mount namespaces of its
// own, so that tests configure a network that is nobody else's and that goes
// with them, however they end.
//
// A TestMain calls Main. As root it needs nothing else; without root it makes a
// user namespace, where that is allowed.
package netnstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside tells the process that it is the one in the namespaces.
const inside = "SPANCTL_TEST_NAMESPACE"

// Main runs tests inside of new namespaces and returns the exit status.
func Main(run func() int) int {
	if os.Getenv(inside) == "" {
		return reexec()
	}
	if err := Prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the test's namespaces:", err)
		return 1
	}
	return run()
}

// Attributes are those of a process that gets namespaces of its own and dies
// with its parent.
func Attributes(flags uintptr) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = Attributes(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	default:
		fmt.Fprintf(os.Stderr, "these tests need network namespaces: run them as root, or allow unprivileged user namespaces "+
			"(sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0): %v\n", err)
		return 1
	}
}

// Prepare gives fresh network and mount namespaces a loopback that is up and a /run that is empty,
// since WireGuard's control sockets are in a fixed place there.
func Prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a private /run: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
