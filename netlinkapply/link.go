package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// Kinds of the mesh's link: the kernel's WireGuard, or the TUN device of the userspace process.
const (
	kindWireguard = "wireguard"
	kindTUN       = "tuntap"
)

// findLink returns the link of that name, nil if there is none. A link that another program
// made is an error.
func (k *Kernel) findLink(name string) (netlink.Link, error) {
	link, err := k.handle.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for link %s: %w", name, err)
	}
	switch link.Type() {
	case kindWireguard:
		return link, nil
	case kindTUN:
		if userspace.Answers(name) {
			return link, nil
		}
	}
	return nil, fmt.Errorf("link %s is a %s that spanctl did not make: rename it, or set machine.network.kubespan.interfaceName to another name",
		name, link.Type())
}

func (k *Kernel) observeLink(s *state.State, link netlink.Link) error {
	attrs := link.Attrs()
	s.Link = state.Link{Name: attrs.Name, MTU: attrs.MTU, Up: attrs.RawFlags&unix.IFF_UP != 0}
	device, err := readDevice(link)
	if err != nil {
		return err
	}
	observeDevice(s, device)
	s.StrictReversePath = isStrict(attrs.Name)
	return k.observeAddresses(s, link)
}

// observeDevice adds the settings and peers of the device.
func observeDevice(s *state.State, device *wgtypes.Device) {
	s.Link.PrivateKey = mesh.SecretKey(device.PrivateKey)
	s.Link.ListenPort = device.ListenPort
	s.Link.FirewallMark = uint32(device.FirewallMark)
	s.Peers = observePeers(device.Peers)
}

// Device reads the settings of the WireGuard device, and its peers in the order of their keys.
func (k *Kernel) Device(scope state.Scope) (state.Link, []state.Peer, error) {
	link, err := k.findLink(scope.LinkName)
	if err != nil {
		return state.Link{}, nil, explain(err)
	}
	if link == nil {
		return state.Link{}, nil, fmt.Errorf("read link %s: %w", scope.LinkName, unix.ENODEV)
	}
	device, err := readDevice(link)
	if err != nil {
		return state.Link{}, nil, explain(err)
	}
	s := state.State{Link: state.Link{Name: scope.LinkName}}
	observeDevice(&s, device)
	s.Normalize()
	return s.Link, s.Peers, nil
}

// readDevice reads WireGuard's settings and peers of a link.
func readDevice(link netlink.Link) (device *wgtypes.Device, err error) {
	if link.Type() == kindTUN {
		return userspace.Read(link.Attrs().Name)
	}
	err = wireguard(func(c *wgctrl.Client) error {
		device, err = c.Device(link.Attrs().Name)
		return err
	})
	return device, err
}

func (k *Kernel) changeLink(ctx context.Context, c state.LinkChange) error {
	if c.Action() == state.Delete {
		return k.deleteLink(ctx, c.Old.Name)
	}
	if err := probePort(ctx, c); err != nil {
		return err
	}
	l := c.New
	if c.Action() == state.Create {
		if err := k.createLink(ctx, l); err != nil {
			return err
		}
	}
	link, err := k.handle.LinkByName(l.Name)
	if err != nil {
		return err
	}
	if err := configure(link, c); err != nil {
		return err
	}
	if c.Old.MTU != l.MTU && link.Attrs().MTU != l.MTU {
		if err := k.handle.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("set the MTU: %w", err)
		}
	}
	if l.Up && !c.Old.Up {
		if err := k.handle.LinkSetUp(link); err != nil {
			return explainPort(l.ListenPort, fmt.Errorf("set the link up: %w", err))
		}
	}
	return nil
}

// configure sets the settings of the WireGuard device that differ.
func configure(link netlink.Link, c state.LinkChange) error {
	l := c.New
	var setting userspace.DeviceSetting
	if c.NewPrivateKey() {
		key := l.PrivateKey.Bytes()
		setting.PrivateKey = &key
	}
	if c.Old.ListenPort != l.ListenPort {
		setting.ListenPort = &l.ListenPort
	}
	if c.Old.FirewallMark != l.FirewallMark {
		setting.FirewallMark = &l.FirewallMark
	}
	if setting == (userspace.DeviceSetting{}) {
		return nil
	}
	if err := configureDevice(link, setting); err != nil {
		return explainPort(l.ListenPort, fmt.Errorf("configure WireGuard: %w", err))
	}
	return nil
}

func configureDevice(link netlink.Link, setting userspace.DeviceSetting) error {
	if link.Type() == kindTUN {
		return userspace.ConfigureDevice(link.Attrs().Name, setting)
	}
	config := wgtypes.Config{PrivateKey: (*wgtypes.Key)(setting.PrivateKey), ListenPort: setting.ListenPort}
	if setting.FirewallMark != nil {
		mark := int(*setting.FirewallMark)
		config.FirewallMark = &mark
	}
	return wireguard(func(client *wgctrl.Client) error { return client.ConfigureDevice(link.Attrs().Name, config) })
}

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

func explainPort(port int, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("UDP port %d is in use by another program: stop it, or set machine.network.kubespan.listenPort to another port (%w)", port, err)
	}
	return err
}

// createLink makes the link in the kernel, or starts the userspace process.
func (k *Kernel) createLink(ctx context.Context, l state.Link) error {
	if k.mode != InUserspace {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = l.Name, l.MTU
		err := k.handle.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
		unsupported := errors.Is(err, unix.EOPNOTSUPP)
		if err == nil || !unsupported {
			return err
		}
		if k.mode == InKernel {
			return fmt.Errorf("this kernel has no WireGuard: load the module with `modprobe wireguard`, or allow the userspace process (%w)", err)
		}
	}
	if k.userspace == nil {
		return errors.New("this kernel has no WireGuard, and there is no userspace process to use instead")
	}
	return k.userspace(ctx, l.Name)
}

func (k *Kernel) deleteLink(ctx context.Context, name string) error {
	link, err := k.findLink(name)
	if err != nil || link == nil {
		return err
	}
	if link.Type() == kindTUN {
		return userspace.Stop(ctx, name, func() error { return k.handle.LinkDel(link) })
	}
	return k.handle.LinkDel(link)
}
