// Package netnstest runs a test binary in network and mount namespaces of its own. The
// kernel removes them with the process, however it ends.
//
// A TestMain calls Main. Without root, Main also makes a user namespace, where the system
// allows that.
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

// inside is set in the environment of the process in the namespaces.
const inside = "SPANCTL_TEST_NAMESPACE"

// Main runs tests in new namespaces and returns the exit status.
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

// Attributes returns the attributes of a process in new namespaces that the kernel kills when
// its parent ends. Without root, a user namespace is among them.
func Attributes(flags uintptr) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	if attr.Cloneflags&syscall.CLONE_NEWUSER != 0 {
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

// Prepare sets the loopback link up in new namespaces and mounts an empty /run, where
// WireGuard's control sockets have a fixed place.
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
