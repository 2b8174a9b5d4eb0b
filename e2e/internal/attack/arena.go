package attack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// Arena is the lab of an attack.
type Arena struct {
	*lab.Lab
	// Discovery, Client and Stranger are the nodes of the server, of a well-behaved client and
	// of the attacker, who has the addresses of crowd, too.
	Discovery, Client, Stranger *lab.Node
}

// NewArena makes an arena on a network. It must be closed.
func NewArena(binary string, network netip.Prefix) (*Arena, error) {
	// A node's working directory is another.
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	l, err := lab.NewOn("", binary, network)
	if err != nil {
		return nil, err
	}
	a := &Arena{Lab: l}
	if err := a.connect(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return a, nil
}

// connect makes the nodes and the routes between them.
func (a *Arena) connect() (err error) {
	for name, node := range map[string]**lab.Node{"discovery": &a.Discovery, "client": &a.Client, "stranger": &a.Stranger} {
		if *node, err = a.AddNode(name); err != nil {
			return err
		}
	}
	err = a.Stranger.Netlink(func(h *netlink.Handle) error {
		loopback, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{Dst: netipx.PrefixIPNet(crowd), LinkIndex: loopback.Attrs().Index,
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
	})
	if err != nil {
		return fmt.Errorf("give the attacker addresses: %w", err)
	}
	err = a.Discovery.Netlink(func(h *netlink.Handle) error {
		return h.RouteAdd(&netlink.Route{Dst: netipx.PrefixIPNet(crowd), Gw: a.Stranger.Address.AsSlice()})
	})
	if err != nil {
		return fmt.Errorf("route to the attacker's addresses: %w", err)
	}
	return nil
}

// Begin starts an attack by name on a server at an address, at 1/scale of its size, and waits
// until it is in full swing. It ends at SIGTERM.
func (a *Arena) Begin(ctx context.Context, name, address string, scale int) (*lab.Process, error) {
	return start(ctx, a.Stranger, commandAttack, name, address, strconv.Itoa(scale))
}

// beginning bounds how long an attack takes to be in full swing.
const beginning = 2 * time.Minute

// start starts a command in a node and waits until it is in full swing.
func start(ctx context.Context, node *lab.Node, name string, args ...string) (*lab.Process, error) {
	cmd, err := node.Subcommand(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	p, err := lab.Start(cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, beginning)
	defer cancel()
	_, err = p.Await(ctx, 0, begun)
	return p, err
}
