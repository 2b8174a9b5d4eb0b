package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// Node is a machine of a lab.
type Node struct {
	Name    string
	Address netip.Addr
	// Dir is the directory of the node's config, state and socket.
	Dir string

	lab    *Lab
	holder *exec.Cmd
	hold   io.WriteCloser
}

// Link is the name of a node's interface on the lab's network.
const Link = "eth0"

// Config returns the path of the node's config file.
func (n *Node) Config() string { return filepath.Join(n.Dir, "etc", "machine.cue") }

// StateDir returns the state directory of the node's agent.
func (n *Node) StateDir() string { return filepath.Join(n.Dir, "state") }

// Socket returns the path of the agent's socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "sock") }

func (n *Node) begin() error {
	if err := os.MkdirAll(filepath.Dir(n.Config()), 0o700); err != nil {
		return err
	}
	// No context: the holder ends when its standard input is closed, and cleans up.
	n.holder = exec.Command("/proc/self/exe", n.Name)
	n.holder.Env = append(os.Environ(), subcommandVariable+"="+subcommandHold)
	n.holder.Stderr = os.Stderr
	n.holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS,
		// A signal that a terminal sends to the whole group must not end the holder
		// before the processes of the node.
		Setpgid: true,
	}
	var err error
	if n.hold, err = n.holder.StdinPipe(); err != nil {
		return err
	}
	said, err := n.holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.holder.Start(); err != nil {
		return err
	}
	if _, err := io.ReadFull(said, make([]byte, len(ready))); err != nil {
		return fmt.Errorf("the holder did not come up: %w", err)
	}
	return nil
}

// Port returns the name of the other end of a link of the node, in this program's own network
// namespace. All that the node sends and receives there passes it.
func (n *Node) Port(link string) string {
	return fmt.Sprintf("v%d-%s", n.holder.Process.Pid, strings.TrimPrefix(link, "eth"))
}

// attach connects the node to a network with a link of its own.
func (n *Node) attach(name string, s *segment, prefix netip.Prefix) error {
	outside := n.Port(name)
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: outside, MasterIndex: s.bridge.Attrs().Index},
		PeerName:      name,
		PeerNamespace: netlink.NsPid(n.holder.Process.Pid),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	return n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(link, Address(prefix)); err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
}

func (n *Node) addAddress(name string, prefix netip.Prefix) error {
	return n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return h.AddrAdd(link, Address(prefix))
	})
}

func (n *Node) setMTU(name string, mtu int) error {
	return n.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return h.LinkSetMTU(link, mtu)
	})
}

// Address returns a prefix as an address of a link, without duplicate address detection:
// addresses in a lab are unique, and the detection takes a second.
func Address(prefix netip.Prefix) *netlink.Addr {
	address := &netlink.Addr{IPNet: netipx.PrefixIPNet(prefix), Flags: unix.IFA_F_NODAD}
	address.IP = prefix.Addr().AsSlice()
	return address
}

func (n *Node) defaultRoute(gateway netip.Addr) error {
	return n.Netlink(func(h *netlink.Handle) error { return h.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}) })
}

// Namespace opens the node's network namespace and passes it to use.
func (n *Node) Namespace(use func(netns.NsHandle) error) error {
	return namespaceOf(n.holder.Process.Pid, use)
}

func namespaceOf(pid int, use func(netns.NsHandle) error) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	return errors.Join(use(ns), ns.Close())
}

// Netlink passes use a handle in the node's network namespace.
func (n *Node) Netlink(use func(*netlink.Handle) error) error {
	return NetlinkOf(n.holder.Process.Pid, use)
}

// NetlinkOf passes use a handle in the network namespace of a process.
func NetlinkOf(pid int, use func(*netlink.Handle) error) error {
	return namespaceOf(pid, func(ns netns.NsHandle) error {
		handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		return use(handle)
	})
}

// end makes the holder end the node and waits for it.
func (n *Node) end() error {
	if n.holder == nil || n.holder.Process == nil {
		return nil
	}
	if err := errors.Join(n.hold.Close(), n.holder.Wait()); err != nil {
		return fmt.Errorf("end node %s: %w", n.Name, err)
	}
	return nil
}

// Command returns a program as a command inside of the node. It ends with ctx and with
// the lab's process.
func (n *Node) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	// Short options, since busybox has no others.
	enter := []string{"-t", strconv.Itoa(n.holder.Process.Pid), "-n", "-m", "-u", "--", program}
	return n.Outside(ctx, "nsenter", append(enter, args...)...)
}

// Outside returns a program as a command in the lab's own namespaces, with the paths of the
// node's files in its environment.
func (n *Node) Outside(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(),
		"SPANCTL_CONFIG="+n.Config(), "SPANCTL_STATE_DIR="+n.StateDir(), "SPANCTL_SOCKET="+n.Socket())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Spanctl returns spanctl as a command inside of the node.
func (n *Node) Spanctl(ctx context.Context, args ...string) *exec.Cmd {
	return n.Command(ctx, n.lab.Binary, args...)
}

// Subcommand returns this program as a command inside of the node. It runs a subcommand
// that Main knows.
func (n *Node) Subcommand(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := n.Command(ctx, executable, args...)
	cmd.Env = append(cmd.Env, subcommandVariable+"="+name)
	return cmd, nil
}
