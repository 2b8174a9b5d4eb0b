package netlinkapply

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// rtnlgrpIPv4Rule is missing from the constants of x/sys (rtnetlink.h).
const rtnlgrpIPv4Rule = 8

// watched are the multicast groups that tell of what spanctl owns or publishes.
var watched = []struct {
	protocol int
	groups   []uint32
}{
	{unix.NETLINK_ROUTE, []uint32{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		rtnlgrpIPv4Rule, unix.RTNLGRP_IPV6_RULE,
	}},
	{unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}},
}

// Watch calls changed for every message about links, addresses, routes, rules
// and nftables, ours included, until ctx ends. Changed must not block.
func Watch(ctx context.Context, changed func()) error {
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
		group.Go(func() error {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			return receive(ctx, conn, changed)
		})
	}
	return group.Wait()
}

func receive(ctx context.Context, conn *netlink.Conn, changed func()) error {
	for {
		_, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			// Messages that did not fit in the buffer are news all the same.
			return fmt.Errorf("follow the kernel's changes: %w", err)
		}
		changed()
	}
}
