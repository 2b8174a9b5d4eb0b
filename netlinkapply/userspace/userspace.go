package userspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

// socketDir is the directory of control sockets; wireguard-go and wgctrl have it fixed.
const socketDir = "/var/run/wireguard"

const (
	// inherited is set in the environment of the process that serves.
	inherited = "SPANCTL_WIREGUARD_INHERITED"
	// The file descriptors that this process inherits.
	tunFD    = 3
	socketFD = 4
	readyFD  = 5
)

// Command is the name of the command that calls Main. The link's name and the log follow it.
const Command = "wireguard-process"

func socketPath(link string) string { return filepath.Join(socketDir, link+".sock") }

// HasSocket reports whether the link is that of a WireGuard in userspace, spanctl's or another.
func HasSocket(link string) bool {
	_, err := os.Stat(socketPath(link))
	return err == nil
}

// Links returns the names of the links that have a control socket, in any network namespace.
func Links() (links []string) {
	paths, _ := filepath.Glob(socketPath("*")) // the pattern is valid
	for _, path := range paths {
		links = append(links, strings.TrimSuffix(filepath.Base(path), ".sock"))
	}
	return links
}

// Start runs command, which must call Main, and returns when the WireGuard process serves.
func Start(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var output bytes.Buffer
	cmd.Stderr = &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start userspace WireGuard: %w: %s", err, strings.TrimSpace(output.String()))
	}
	return nil
}

// Main is the program of both processes. The one that serves writes its errors to the file log.
func Main(link, log string) error {
	if os.Getenv(inherited) != "" {
		return serve(link)
	}
	return spawn(link, log)
}

// spawn makes the device and the socket, and starts the process that serves them.
func spawn(link, logPath string) error {
	log, err := openLog(logPath)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	tunDevice, err := tun.CreateTUN(link, device.DefaultMTU)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("this kernel has no WireGuard, and its TUN device cannot be used instead: %w", err)
		}
		return fmt.Errorf("make TUN device %s: %w", link, err)
	}
	defer func() { _ = tunDevice.Close() }()
	socket, err := ipc.UAPIOpen(link)
	if err != nil {
		return fmt.Errorf("open the control socket of %s: %w", link, err)
	}
	defer func() { _ = socket.Close() }()
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	ready, signal, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(executable, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inherited+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{tunDevice.File(), socket, signal}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), signal.Close()); err != nil {
		return fmt.Errorf("start the WireGuard process of %s: %w", link, err)
	}
	// The process writes to the pipe when it serves. If it dies before, the read returns nothing.
	err = ready.SetReadDeadline(time.Now().Add(startTimeout))
	if n, readErr := ready.Read(make([]byte, 1)); n == 0 {
		_ = cmd.Process.Kill() // it may have been stopped
		_ = cmd.Wait()
		return fmt.Errorf("the WireGuard process of %s did not start (%w); see %s", link, errors.Join(err, readErr), logPath)
	}
	return cmd.Process.Release()
}

// openLog opens the log of the process. Where the disk takes none, what goes wrong is not kept, and
// WireGuard runs all the same.
func openLog(path string) (*os.File, error) {
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return log, err
}

// serve runs WireGuard until its device is deleted or a signal ends the process.
func serve(link string) error {
	if err := os.Unsetenv(inherited); err != nil {
		return err
	}
	if err := unix.SetNonblock(tunFD, true); err != nil {
		return err
	}
	tunDevice, err := tun.CreateTUNFromFile(os.NewFile(tunFD, "/dev/net/tun"), device.DefaultMTU)
	if err != nil {
		return fmt.Errorf("take over TUN device %s: %w", link, err)
	}
	wg := device.NewDevice(tunDevice, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "("+link+") "))
	defer wg.Close()
	// Listening again makes this process the peer that clients see (unix(7), SO_PEERCRED).
	if err := unix.Listen(socketFD, unix.SOMAXCONN); err != nil {
		return fmt.Errorf("listen for control of %s: %w", link, err)
	}
	listener, err := ipc.UAPIListen(link, os.NewFile(socketFD, socketPath(link)))
	if err != nil {
		return fmt.Errorf("listen for control of %s: %w", link, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer stop()
	accepted := make(chan error, 1)
	// The process ends with serve, and these goroutines with the process.
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				accepted <- err
				return
			}
			go wg.IpcHandle(c)
		}
	}()
	if err := announceReady(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-wg.Wait():
	case err = <-accepted:
	}
	return errors.Join(err, listener.Close())
}

// announceReady reports to spawn that this process serves.
func announceReady() error {
	ready := os.NewFile(readyFD, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return err
	}
	return ready.Close()
}
