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

// watched are the multicast groups that tell of what spanctl owns or publishes.
var watched = []struct {
	protocol int
	groups   []uint32
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

// Watch calls changed for every message of the kernel about what is in scope, or
// is part of what the machine looks like to the mesh: its links, addresses and
// default routes. It calls woken when the machine was suspended or its clock set,
// with by how much.
// It ends with ctx. The functions must not block.
func Watch(ctx context.Context, scope func() state.Scope, changed func(), woken func(set time.Duration)) error {
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
					changed()
				}
			}, changed)
		})
	}
	group.Go(func() error { return watchClock(ctx, woken) })
	return group.Wait()
}

// receive hands on messages. Those that did not fit in the buffer are news all
// the same: lost is called for them.
func receive(ctx context.Context, conn *netlink.Conn, each func(netlink.Message), lost func()) error {
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			lost()
		case err != nil:
			return fmt.Errorf("follow the kernel's changes: %w", err)
		}
		for _, m := range messages {
			each(m)
		}
	}
}

// watcher tells which messages matter. It is for one goroutine.
type watcher struct {
	scope func() state.Scope
	// links are the links, by index, as far as they are known.
	links map[int32]linkState
}

// linkState is what of a link matters.
type linkState struct {
	flags uint32
	mtu   string
}

// The sizes of the headers of messages (rtnetlink(7), nfnetlink.h), and of an
// interface's flags those that tell whether packets pass.
const (
	ifInfoSize = 16
	rtMsgSize  = 12
	nfGenSize  = 4
	passes     = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	// nftaTable is the attribute with the table's name in every message about one
	// or something in it (nf_tables.h).
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

// concernsLink passes over messages that tell of counters and the like: a host
// with many containers has many of them.
func (w *watcher) concernsLink(m netlink.Message) bool {
	if len(m.Data) < ifInfoSize {
		return true
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	now := linkState{
		flags: binary.NativeEndian.Uint32(m.Data[8:]) & passes,
		mtu:   attribute(m.Data[ifInfoSize:], unix.IFLA_MTU),
	}
	before, known := w.links[index]
	w.links[index] = now
	if m.Header.Type == unix.RTM_DELLINK {
		delete(w.links, index)
		return true
	}
	name := attribute(m.Data[ifInfoSize:], unix.IFLA_IFNAME)
	return !known || before != now || name == w.scope().LinkName
}

// concernsTable tells our routes and default routes from all others: a router
// may have a million of them.
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

// concernsFirewall tells messages about our table.
func (w *watcher) concernsFirewall(m netlink.Message) bool {
	if len(m.Data) < nfGenSize {
		return false
	}
	return attribute(m.Data[nfGenSize:], nftaTable) == w.scope().FirewallTable
}

// attribute is the text of an attribute, "" where there is none.
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
