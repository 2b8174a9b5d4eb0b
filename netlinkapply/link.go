package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/state"
)

// Kinds of the mesh's link: the kernel's WireGuard, or the TUN device of the userspace process.
const (
	kindWireguard = "wireguard"
	kindTUN       = "tuntap"
)

func (k *Kernel) observeLink(s *state.State, scope state.Scope, link netlink.Link) error {
	attrs := link.Attrs()
	s.Link = state.Link{Name: attrs.Name, MTU: attrs.MTU, Up: attrs.RawFlags&unix.IFF_UP != 0}
	device, err := k.readDevice(scope, link)
	if err != nil {
		return err
	}
	observeDevice(s, device)
	s.Peers = slices.Clone(s.Peers) // the state holds for longer than until the next reading
	s.StrictReversePath = isStrict(attrs.Name)
	s.IPv6Off = isIPv6Off(attrs.Name)
	return k.observeAddresses(s, link)
}

// observeDevice adds the settings and peers of the device.
func observeDevice(s *state.State, device *wgdevice.Device) {
	s.Link.PrivateKey, s.Link.ListenPort, s.Link.FirewallMark = device.PrivateKey, device.ListenPort, device.FirewallMark
	s.Peers = device.Peers()
}

// Device reads the settings of the WireGuard device, and its peers in the order of their keys. The
// list of peers holds until the next reading, by Device or Observe.
func (k *Kernel) Device(scope state.Scope) (state.Link, []state.Peer, error) {
	link, err := k.findLink(scope)
	if err != nil {
		return state.Link{}, nil, explain(err)
	}
	if link == nil {
		return state.Link{}, nil, fmt.Errorf("read link %s: %w", scope.LinkName, unix.ENODEV)
	}
	device, err := k.readDevice(scope, link)
	if err != nil {
		return state.Link{}, nil, explain(err)
	}
	s := state.State{Link: state.Link{Name: scope.LinkName}}
	observeDevice(&s, device)
	return s.Link, s.Peers, nil
}

// readDevice reads WireGuard's settings and peers of a link.
func (k *Kernel) readDevice(scope state.Scope, link netlink.Link) (*wgdevice.Device, error) {
	if link.Type() == kindTUN {
		device := k.deviceOf(scope.LinkName, kindTUN)
		return device, k.explainUnresponsive(userspace.Read(scope.LinkName, device))
	}
	device := k.deviceOf(link.Attrs().Name, kindWireguard)
	return device, readDevice(link.Attrs().Name, device)
}

// lastDevice is the device that was read last, of a link and its kind.
type lastDevice struct {
	link, kind string
	device     *wgdevice.Device
}

// deviceOf returns the device of a link to read into: that which was read last, if it is of the same
// link.
func (k *Kernel) deviceOf(link, kind string) *wgdevice.Device {
	if k.last.device == nil || k.last.link != link || k.last.kind != kind {
		k.last = lastDevice{link, kind, new(wgdevice.Device)}
	}
	return k.last.device
}

func (k *Kernel) changeLink(ctx context.Context, scope state.Scope, c state.LinkChange) error {
	if c.Action() == state.Delete {
		return k.deleteLink(ctx, scope)
	}
	if err := k.makeLink(ctx, c); err != nil {
		return err
	}
	l := c.New
	link, err := k.handle.LinkByName(l.Name)
	if err != nil {
		return err
	}
	if err := k.configure(link, c); err != nil {
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

// makeLink makes the link, or gives it its name, after it has tried the port.
func (k *Kernel) makeLink(ctx context.Context, c state.LinkChange) error {
	created := c.Action() == state.Create
	switch {
	case created && userspace.Exists(c.New.Name):
		// A process is left whose device was moved to another network namespace, or was
		// deleted just now. It has the port.
		if err := userspace.Kill(ctx, c.New.Name); err != nil {
			return err
		}
	case c.Renames():
		if err := k.renameLink(c.Old.Name, c.New.Name); err != nil {
			return err
		}
	}
	if err := probePort(ctx, c); err != nil || !created {
		return err
	}
	return k.createLink(ctx, c.New)
}

// configure sets the settings of the WireGuard device that differ.
func (k *Kernel) configure(link netlink.Link, c state.LinkChange) error {
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
		return explainPort(l.ListenPort, fmt.Errorf("configure WireGuard: %w", k.explainUnresponsive(err)))
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

// createLink makes the link in the kernel, or starts the userspace process.
func (k *Kernel) createLink(ctx context.Context, l state.Link) error {
	if k.mode != InUserspace {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = l.Name, l.MTU
		err := k.handle.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
		if err == nil {
			k.mark(l.Name)
		}
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
	if err := k.userspace(ctx, l.Name); err != nil {
		return err
	}
	k.mark(l.Name)
	return nil
}

func (k *Kernel) deleteLink(ctx context.Context, scope state.Scope) error {
	link, err := k.findLink(scope)
	if err != nil || link == nil {
		return err
	}
	if link.Type() == kindTUN {
		return userspace.Stop(ctx, scope.LinkName, func() error { return k.handle.LinkDel(link) })
	}
	return k.handle.LinkDel(link)
}
