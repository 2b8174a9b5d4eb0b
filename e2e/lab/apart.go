package lab

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// Part cuts nodes off from the others of the lab's network, as if they were on a LAN whose cable to the
// rest is unplugged: they still reach each other. Nodes that were cut off before are on the same LAN.
// Nodes at a site go with their router alone.
func (l *Lab) Part(nodes ...*Node) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.apart == nil {
		s, err := newSegment(l.segment.network)
		if err != nil {
			return err
		}
		l.apart = s
	}
	return plug(nodes, l.apart)
}

// Rejoin ends what Part began.
func (l *Lab) Rejoin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.apart == nil {
		return nil
	}
	isApart := func(n *Node) bool {
		port, err := netlink.LinkByName(n.Port(Link)) // a list of all links is cut short while others change
		return err == nil && port.Attrs().MasterIndex == l.apart.bridge.Attrs().Index
	}
	err := plug(slices.DeleteFunc(slices.Clone(l.nodes), func(n *Node) bool { return !isApart(n) }), l.segment)
	err = errors.Join(err, l.apart.close())
	l.apart = nil
	return err
}

// plug connects the links of nodes to a network in place of the one before.
func plug(nodes []*Node, s *segment) error {
	for _, n := range nodes {
		port, err := netlink.LinkByName(n.Port(Link))
		if err == nil {
			err = netlink.LinkSetMaster(port, s.bridge)
		}
		if err != nil {
			return fmt.Errorf("plug %s: %w", n.Name, err)
		}
	}
	return nil
}
