package nodecmd

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// signalWireguard sends the signal args[0], such as SIGSTOP, to the WireGuard processes of this
// network namespace, and prints their IDs.
func signalWireguard(args []string) error {
	return signalCommand([]string{WireGuardCommand, args[0]})
}

// signalCommand sends the signal args[1] to the processes of this network namespace that run the command
// args[0] of spanctl, such as "relay-process", and prints their IDs.
func signalCommand(args []string) error {
	number := unix.SignalNum(args[1])
	processes, err := ProcessesBeside("self", args[0])
	if err == nil && (len(processes) == 0 || number == 0) {
		err = fmt.Errorf("%d processes of %s, signal %d", len(processes), args[0], number)
	}
	for _, path := range processes {
		pid, convErr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		err = errors.Join(err, convErr, unix.Kill(pid, number))
		fmt.Println(pid)
	}
	return err
}

// keepStopped stops the WireGuard processes of this network namespace, and those that are started
// in their place, until SIGTERM.
func keepStopped([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	fmt.Print(Ready)
	for {
		processes, err := wireguardProcesses()
		if err != nil {
			return err
		}
		for _, path := range processes {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return err
			}
			_ = unix.Kill(pid, unix.SIGSTOP) // it may have ended
		}
		select {
		case <-stop:
			return nil
		case <-ticker.C:
		}
	}
}

// renameLink renames the link args[0] to args[1]. Kernels before 6.2 rename no link that is up.
func renameLink(args []string) error {
	link, err := vnetlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	err = vnetlink.LinkSetName(link, args[1])
	if errors.Is(err, unix.EBUSY) {
		err = errors.Join(vnetlink.LinkSetDown(link), vnetlink.LinkSetName(link, args[1]), vnetlink.LinkSetUp(link))
	}
	return err
}

// moveLink moves the mesh's link to a network namespace that ends with the command.
func moveLink([]string) error {
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return err
	}
	handle, err := vnetlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	runtime.LockOSThread() // and never unlocked: the thread is in the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := handle.LinkSetNsPid(link, unix.Gettid()); err != nil {
		return err
	}
	return AwaitSignal()
}

// setDevice changes a setting of the mesh's WireGuard device as wg(8) does: args[0] is
// "fwmark", "listen-port", "private-key" or "allowed-ips", which removes those of all peers.
func setDevice(args []string) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	var config wgtypes.Config
	switch args[0] {
	case "fwmark":
		config.FirewallMark = new(int)
	case "listen-port":
		port := 51999
		config.ListenPort = &port
	case "private-key":
		key, err := wgtypes.GeneratePrivateKey()
		if err != nil {
			return err
		}
		config.PrivateKey = &key
	case "allowed-ips":
		device, err := client.Device(MeshLink)
		if err != nil {
			return err
		}
		for _, p := range device.Peers {
			config.Peers = append(config.Peers, wgtypes.PeerConfig{PublicKey: p.PublicKey, UpdateOnly: true, ReplaceAllowedIPs: true})
		}
	default:
		return fmt.Errorf("the setting %q is not known", args[0])
	}
	return client.ConfigureDevice(MeshLink, config)
}

// deleteTables deletes spanctl's nftables table every half second, until SIGTERM.
func deleteTables([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	fmt.Print(Ready)
	for {
		if err := deleteTable(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-ticker.C:
		}
	}
}

func deleteTable() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if strings.HasPrefix(t.Name, "spanctl") {
			conn.DelTable(t)
		}
	}
	return conn.Flush()
}

// readOnlySettings makes /proc/sys read-only, as it is in a container.
func readOnlySettings([]string) error {
	if err := unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// hideIPv6 hides the settings of IPv6, as a kernel without IPv6 does.
func hideIPv6([]string) error { return unix.Mount("none", "/proc/sys/net/ipv6", "tmpfs", 0, "") }

// disableIPv6 disables IPv6 on the mesh's link, also where /proc/sys is read-only: outside of a
// container it is not.
func disableIPv6([]string) error {
	runtime.LockOSThread() // and never unlocked: the thread is in a namespace
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT, ""); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv6/conf/"+MeshLink+"/disable_ipv6", []byte("1"), 0)
}
