package netlinkapply

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// rtnlgrpIPv4Rule is missing from the constants of x/sys (rtnetlink.h).
const rtnlgrpIPv4Rule = 8

// watched are the multicast groups of what spanctl owns or publishes.
var watched = []struct {
	protocol int
	groups   []uint32
	// concerns reports whether a message matters.
	concerns func(w *watcher, m netlink.Message) bool
}{
	{unix.NETLINK_ROUTE, []uint32{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		rtnlgrpIPv4Rule, unix.RTNLGRP_IPV6_RULE,
	}, (*watcher).concernsRoute},
	{unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, (*watcher).concernsFirewall},
}

// Watch calls changed for every message of the kernel about an object in scope, or about the
// machine's links, addresses and default routes. TableDeleted is set if the message is that a
// table in scope was deleted. Watch calls stepped when the machine resumes
// from suspend or its clock is set, with by how much it was set.
// Watch ends with ctx. The functions must not block.
func Watch(ctx context.Context, scope func() state.Scope, changed func(tableDeleted bool), stepped func(by time.Duration)) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range watched {
		conn, err := netlink.Dial(w.protocol, nil)
		if err != nil {
			return errors.Join(fmt.Errorf("open a netlink socket: %w", err), group.Wait())
		}
		for _, g := range w.groups {
			if err := conn.JoinGroup(g); err != nil {
				return errors.Join(fmt.Errorf("join netlink group %d: %w", g, err), conn.Close())
			}
		}
		watcher := &watcher{scope: scope, links: map[int32]linkState{}}
		group.Go(func() error {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			return receive(ctx, conn, func(m netlink.Message) {
				if w.concerns(watcher, m) {
					changed(w.protocol == unix.NETLINK_NETFILTER && watcher.isTableDeleted(m))
				}
			}, func() { changed(false) })
		})
	}
	group.Go(func() error { return watchClock(ctx, stepped) })
	return group.Wait()
}

// receive calls each for every message, and lost when messages did not fit in the buffer.
func receive(ctx context.Context, conn *netlink.Conn, each func(netlink.Message), lost func()) error {
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			lost()
		case err != nil:
			return fmt.Errorf("watch the kernel: %w", err)
		}
		for _, m := range messages {
			each(m)
		}
	}
}

// watcher decides which messages matter. It is for one goroutine.
type watcher struct {
	scope func() state.Scope
	// links are the links that a message has named, by index.
	links map[int32]linkState
}

// linkState is the part of a link that matters.
type linkState struct {
	flags uint32
	// mtu is the attribute's value, in the kernel's encoding.
	mtu string
	// name is the link's name: it may be given another.
	name string
}

const (
	// The sizes of message headers in bytes (rtnetlink(7), nfnetlink.h).
	ifInfoSize = 16
	rtMsgSize  = 12
	nfGenSize  = 4
	// upFlags are the flags of an interface that decide whether packets pass.
	upFlags = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	// nftaTable is the attribute of the table's name in a message about a table or an object in
	// it (nf_tables.h).
	nftaTable = 1
)

func (w *watcher) concernsRoute(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.concernsLink(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.concernsTable(m.Data)
	default: // addresses and rules
		return true
	}
}

// concernsLink ignores messages about counters and the like, of which a host with many
// containers receives many.
func (w *watcher) concernsLink(m netlink.Message) bool {
	if len(m.Data) < ifInfoSize {
		return true
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	now := linkState{
		flags: binary.NativeEndian.Uint32(m.Data[8:]) & upFlags,
		mtu:   attribute(m.Data[ifInfoSize:], unix.IFLA_MTU),
		name:  attribute(m.Data[ifInfoSize:], unix.IFLA_IFNAME),
	}
	before, known := w.links[index]
	w.links[index] = now
	if m.Header.Type == unix.RTM_DELLINK {
		delete(w.links, index)
		return true
	}
	return !known || before != now || now.name == w.scope().LinkName
}

// concernsTable reports whether a route is in spanctl's table or is a default route. A router
// may have a million others.
func (w *watcher) concernsTable(data []byte) bool {
	if len(data) < rtMsgSize {
		return true
	}
	isDefault := data[1] == 0
	table := uint32(data[4])
	if decoder, err := netlink.NewAttributeDecoder(data[rtMsgSize:]); err == nil {
		for decoder.Next() {
			if decoder.Type() == unix.RTA_TABLE && len(decoder.Bytes()) == 4 {
				table = decoder.Uint32()
			}
		}
	}
	return table == uint32(w.scope().RoutingTable) || isDefault && table == unix.RT_TABLE_MAIN
}

// concernsFirewall reports whether a message is about a table of this mesh or of another one on
// this machine.
func (w *watcher) concernsFirewall(m netlink.Message) bool {
	if len(m.Data) < nfGenSize {
		return false
	}
	name, scope := attribute(m.Data[nfGenSize:], nftaTable), w.scope()
	switch name {
	case "":
		return false
	case scope.FirewallTable, scope.GuardTable, state.FormerTable:
		return true
	}
	_, isMesh := state.LinkOfTable(name)
	return isMesh && !isElement(m)
}

// isTableDeleted reports whether a message of nftables is that a table of this mesh was deleted.
func (w *watcher) isTableDeleted(m netlink.Message) bool {
	if messageKind(m) != unix.NFT_MSG_DELTABLE || len(m.Data) < nfGenSize {
		return false
	}
	name, scope := attribute(m.Data[nfGenSize:], nftaTable), w.scope()
	return name == scope.FirewallTable || name == scope.GuardTable
}

// isElement reports whether a message of nftables is about elements of a set.
func isElement(m netlink.Message) bool {
	kind := messageKind(m)
	return kind == unix.NFT_MSG_NEWSETELEM || kind == unix.NFT_MSG_DELSETELEM
}

// messageKind returns what a message of nftables is about. The high byte of its type is the
// subsystem (nfnetlink.h).
func messageKind(m netlink.Message) uint16 { return uint16(m.Header.Type) & 0xff }

// attribute returns the value of an attribute, "" if there is none.
func attribute(data []byte, kind uint16) (text string) {
	decoder, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return ""
	}
	for decoder.Next() {
		if decoder.Type() == kind {
			text = decoder.String()
		}
	}
	return text
}
