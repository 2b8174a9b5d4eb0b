package userspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/spanmesh/span/netlinkapply/detached"
)

// socketDir is the directory of control sockets; wireguard-go and wgctrl have it fixed.
const socketDir = "/var/run/wireguard"

const (
	// inherited is set in the environment of the process that serves.
	inherited = "SPANCTL_WIREGUARD_INHERITED"
	// The file descriptors that this process inherits.
	tunFD    = 3
	socketFD = 4
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
	if err := detached.Start(ctx, command); err != nil {
		return fmt.Errorf("start userspace WireGuard: %w", err)
	}
	return nil
}

// Main is the program of both processes. The one that serves writes its errors to the file log.
func Main(link, log string) error {
	if detached.Inherited(inherited) {
		err := serve(link)
		if err != nil && detached.Inherited(inherited) {
			return errors.Join(err, detached.Ready(inherited, err))
		}
		return err
	}
	return spawn(link, log)
}

// spawn makes the device and the socket, and starts the process that serves them.
func spawn(link, log string) error {
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
	if err := detached.Spawn(inherited, log, tunDevice.File(), socket); err != nil {
		return fmt.Errorf("start the WireGuard process of %s: %w", link, err)
	}
	return nil
}

// serve runs WireGuard until its device is deleted or a signal ends the process.
func serve(link string) error {
	if err := unix.SetNonblock(tunFD, true); err != nil {
		return err
	}
	tunDevice, err := tun.CreateTUNFromFile(os.NewFile(tunFD, "/dev/net/tun"), device.DefaultMTU)
	if err != nil {
		return fmt.Errorf("take over TUN device %s: %w", link, err)
	}
	sockets, done := newBind(), make(chan struct{})
	defer close(done)
	if err := sockets.followRoutes(done); err != nil {
		return fmt.Errorf("follow the routes: %w", err)
	}
	wg := device.NewDevice(tunDevice, sockets, device.NewLogger(device.LogLevelError, "("+link+") "))
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
	if err := detached.Ready(inherited, nil); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-wg.Wait():
	case err = <-accepted:
	}
	return errors.Join(err, listener.Close())
}
