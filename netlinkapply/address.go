package netlinkapply

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// observeAddresses reads the addresses of the link, without the IPv6 link-local ones that the
// kernel makes.
func (k *Kernel) observeAddresses(s *state.State, link netlink.Link) error {
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.handle.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, a := range addresses {
		prefix, ok := netipx.FromStdIPNet(a.IPNet)
		if ok && (prefix.Addr().Is4() || !prefix.Addr().IsLinkLocalUnicast()) {
			s.Addresses = append(s.Addresses, keepHost(a.IPNet, prefix))
		}
	}
	return nil
}

// keepHost returns prefix with the host part of from, which netipx has masked.
func keepHost(from *net.IPNet, prefix netip.Prefix) netip.Prefix {
	address, _ := netipx.FromStdIP(from.IP)
	return netip.PrefixFrom(address, prefix.Bits())
}

func (k *Kernel) changeAddress(c state.AddressChange) error {
	deleted := c.Action() == state.Delete
	a := c.New
	if deleted {
		a = c.Old
	}
	link, err := k.handle.LinkByName(a.Link)
	if err != nil {
		return err
	}
	// Duplicate address detection would only delay: a tunnel has no neighbours that answer.
	address := &netlink.Addr{IPNet: netipx.PrefixIPNet(a.Prefix), Flags: unix.IFA_F_NODAD}
	address.IP = a.Addr().AsSlice()
	if a.Prefix == state.Dummy {
		// The kernel then never picks it as a source for packets beyond the link.
		address.Scope = int(netlink.SCOPE_LINK)
	}
	if deleted {
		err := k.handle.AddrDel(link, address)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil
		}
		return err
	}
	err = k.handle.AddrReplace(link, address)
	if a.Addr().Is6() {
		return explainIPv6(a.Link, err)
	}
	return err
}
