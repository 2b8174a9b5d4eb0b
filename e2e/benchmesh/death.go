package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// settleTime is how long a mesh runs before something happens to it: peers have answered an
// echo then, and the last handshake is no longer news.
const settleTime = 10 * time.Second

// last is the machine that dies. Its key may sort anywhere.
const last = 2

// ready starts the mesh and lets it settle.
func (m *mesh) ready(ctx context.Context) error {
	if err := m.start(ctx); err != nil {
		return err
	}
	if err := m.awaitUp(ctx); err != nil {
		return err
	}
	return sleep(ctx, settleTime)
}

// cutPower stops a machine as if it had lost its power: it announces nothing.
func (m *mesh) cutPower(ctx context.Context, machine int) error {
	node := m.nodes[machine]
	var kind string
	err := node.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		tunnel, err := h.LinkByName(nodecmd.MeshLink)
		if err != nil {
			return err
		}
		kind = tunnel.Type()
		return h.LinkSetDown(link)
	})
	if err != nil {
		return err
	}
	_ = m.agents[machine].Stop(unix.SIGKILL) // the error is that of the signal
	if kind == "tun" || kind == "tuntap" {
		return m.nodecmd(ctx, machine, "kill-wireguard")
	}
	return m.nodecmd(ctx, machine, "delete-link", nodecmd.MeshLink)
}

// address returns an address of a machine in the mesh.
func (m *mesh) address(ctx context.Context, machine int) (netip.Addr, error) {
	text, err := m.output(ctx, machine, "address")
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(text)
}

// received returns how many packets a machine has received through the tunnel.
func (m *mesh) received(ctx context.Context, machine int) (int, error) {
	text, err := m.output(ctx, machine, "received")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// output returns what a command of package nodecmd prints.
func (m *mesh) output(ctx context.Context, machine int, name string, args ...string) (string, error) {
	cmd, err := m.nodes[machine].Subcommand(ctx, name, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// noticed cuts the power of a machine and returns how long it takes until the agents of some
// machines log that it is down.
func (m *mesh) noticed(ctx context.Context, by ...int) (time.Duration, error) {
	positions := m.positions()
	start := time.Now()
	if err := m.cutPower(ctx, last); err != nil {
		return 0, err
	}
	var group errgroup.Group
	for _, i := range by {
		group.Go(func() error {
			_, err := m.agents[i].Await(ctx, positions[i], "peer down")
			return err
		})
	}
	err := group.Wait()
	return time.Since(start), err
}

// deadWithTraffic pings a machine until it dies.
func deadWithTraffic(ctx context.Context, m *mesh) (time.Duration, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	address, err := m.address(ctx, last)
	if err != nil {
		return 0, err
	}
	pinging, err := m.nodes[0].KeepPinging(ctx, address)
	if err != nil {
		return 0, err
	}
	took, err := m.noticed(ctx, 0)
	_, stopped := pinging.Stop()
	return took, errors.Join(err, stopped)
}

// deadAtRest has a machine die to which nobody sends anything. It is measured until both
// others know.
func deadAtRest(ctx context.Context, m *mesh) (time.Duration, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	return m.noticed(ctx, 0, 1)
}

// setUpAnew has a machine die, which then comes back without its state: with the same name and
// address, and another key. Another machine reaches that address through the tunnel only.
func setUpAnew(ctx context.Context, m *mesh) (time.Duration, error) {
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	if err := m.cutPower(ctx, last); err != nil {
		return 0, err
	}
	node := m.nodes[last]
	if err := os.RemoveAll(node.StateDir()); err != nil {
		return 0, err
	}
	err := node.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if m.agents[last], err = lab.Start(node.Spanctl(ctx, "run")); err != nil {
		return 0, err
	}
	_, err = m.nodes[0].Ping(ctx, node.Address)
	return time.Since(start), err
}

// served is in a network that two machines advertise, and at both.
var served = netip.MustParseAddr("10.99.0.5")

// serve starts a mesh in which the second and the third machine advertise a network, and
// returns which of them the first one sends to.
func (m *mesh) serve(ctx context.Context) (owner int, err error) {
	for _, i := range []int{1, last} {
		if err := errors.Join(m.set(i, `advertisedNetworks: ["10.99.0.0/24"]`), m.nodecmd(ctx, i, "on-loopback", served.String()+"/32")); err != nil {
			return 0, err
		}
	}
	// Without any route, the kernel refuses packets before the rules of the mesh apply.
	if err := m.nodecmd(ctx, 0, "default-route", "172.20.0.1"); err != nil {
		return 0, err
	}
	if err := m.ready(ctx); err != nil {
		return 0, err
	}
	before, err := m.received(ctx, last)
	if err != nil {
		return 0, err
	}
	const many = 50
	if _, err := m.nodes[0].PingMany(ctx, served, many); err != nil {
		return 0, err
	}
	after, err := m.received(ctx, last)
	if after-before >= many {
		return last, err
	}
	return 1, err
}

// afterCrash has the machine die that serves the network.
func afterCrash(ctx context.Context, m *mesh) (time.Duration, error) {
	owner, err := m.serve(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := m.cutPower(ctx, owner); err != nil {
		return 0, err
	}
	_, err = m.nodes[0].Ping(ctx, served)
	return time.Since(start), err
}

// afterWithdrawal has the machine withdraw the network that serves it. The time is that for
// which pings are lost.
func afterWithdrawal(ctx context.Context, m *mesh) (time.Duration, error) {
	owner, err := m.serve(ctx)
	if err != nil {
		return 0, err
	}
	pinging, err := m.nodes[0].KeepPinging(ctx, served)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(m.nodes[owner].Config())
	if err != nil {
		return 0, err
	}
	changed := strings.Replace(string(text), `advertisedNetworks: ["10.99.0.0/24"]`, "", 1)
	if err := os.WriteFile(m.nodes[owner].Config(), []byte(changed), 0o600); err != nil {
		return 0, err
	}
	other := 1 + last - owner
	before, err := m.received(ctx, other)
	if err != nil {
		return 0, err
	}
	// The other machine serves the network when pings come to it.
	for after := before; after < before+50; {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
		if after, err = m.received(ctx, other); err != nil {
			return 0, err
		}
	}
	pings, err := pinging.Stop()
	return time.Duration(pings.Lost()) * lab.PingInterval, err
}
