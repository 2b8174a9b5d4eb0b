package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// outermost returns the router on the backbone, or the machine itself where it has none.
func (p *Place) outermost() *Node {
	if len(p.Routers) == 0 {
		return p.Node
	}
	return p.Routers[len(p.Routers)-1]
}

// Reboot makes the place's router, its only one, lose all mappings, and map the machine's port to another
// one from then on, unless its kind maps no port.
func (p *Place) Reboot(port uint16) error {
	router := p.Routers[0]
	if len(p.Routers) > 1 {
		return fmt.Errorf("%s has %d routers", p.Name, len(p.Routers))
	}
	return errors.Join(router.forgetRules(), router.filter(p.Kind), router.mapPort(p.Kind, netip.AddrPortFrom(p.Address, wireguardPort), port),
		router.ForgetMappings())
}

// Renumber gives what the place has on the backbone another public address, as a provider does.
func (p *Place) Renumber() error {
	outer := p.outermost()
	old := outer.Address
	outer.Address = old.Next() // no other has it: each place has a network of its own
	err := outer.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(Link)
		if err != nil {
			return err
		}
		return errors.Join(h.AddrDel(link, Address(netip.PrefixFrom(old, publicBits))), h.AddrAdd(link, Address(netip.PrefixFrom(outer.Address, publicBits))))
	})
	if err == nil {
		err = outer.defaultRoute(netip.PrefixFrom(old, publicBits).Masked().Addr().Next())
	}
	if err == nil && len(p.Routers) > 0 {
		err = p.Reboot(MappedPort)
	}
	if err != nil {
		return fmt.Errorf("give %s another address than %v: %w", outer.Name, old, err)
	}
	return nil
}

// forgetRules deletes what translate has made.
func (n *Node) forgetRules() error {
	return n.Namespace(func(ns netns.NsHandle) error {
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
		if err != nil {
			return err
		}
		conn.DelTable(&nftables.Table{Name: routerTable, Family: nftables.TableFamilyIPv4})
		return conn.Flush()
	})
}
