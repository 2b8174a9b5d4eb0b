package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// way is a way from one machine to another, whose carrier is measured.
type way struct {
	name string
	// build makes the machines of a mesh, and starts the agent of a carrier, if there is one.
	build func(context.Context, *mesh) error
	// carrier returns the processes that carry the packets; nil for none.
	carrier func(*mesh) ([]int, error)
}

var ways = []way{
	{"direct", func(ctx context.Context, m *mesh) error { return m.prepare(ctx, 2) }, nil},
	{"blind relay", behindNATs(false), server},
	{"blind relay, one end over TCP", behindNATs(true), server},
	{"member that forwards", aroundMember, userspaceOf},
}

// packetData is what a packet of TCP carries: the mesh's MTU of 1420 bytes without the headers of
// IPv6, TCP and its timestamps (RFC 8200, 9293, 7323).
const packetData = 1420 - 40 - 20 - 12

// carried is how much is sent, in bytes.
const carried = 1 << 30

// measurePaths prints what TCP reaches by each way between two machines, and what a packet costs the
// one who carries it.
func measurePaths(ctx context.Context, turns int) error {
	fmt.Println("| | Mbit/s | carrier's processor time a packet |\n| --- | --- | --- |")
	var failures error
	for _, w := range ways {
		if err := withLab(ctx, func(ctx context.Context, m *mesh) error { return w.measure(ctx, m, turns) }); err != nil {
			failures = errors.Join(failures, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return failures
}

// measure prints the medians of some turns.
func (w way) measure(ctx context.Context, m *mesh, turns int) error {
	if err := w.build(ctx, m); err != nil {
		return err
	}
	var carriers []int
	if w.carrier != nil {
		var err error
		if carriers, err = w.carrier(m); err != nil {
			return err
		}
	}
	address, err := m.sink(ctx)
	if err != nil {
		return err
	}
	var rates, prices []float64
	for range turns {
		before, err := cpuOf(carriers)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := m.nodecmd(ctx, 0, "tcp-send", address.String(), strconv.Itoa(carried)); err != nil {
			return err
		}
		took := time.Since(start)
		after, err := cpuOf(carriers)
		if err != nil {
			return err
		}
		rates = append(rates, carried*8/took.Seconds()/1e6)
		prices = append(prices, float64((after-before).Nanoseconds())/1e3/(carried/packetData))
	}
	slices.Sort(rates)
	slices.Sort(prices)
	price := ""
	if carriers != nil {
		price = fmt.Sprintf("%.1f µs", prices[turns/2])
	}
	fmt.Printf("| %s | %.0f | %s |\n", w.name, rates[turns/2], price)
	return nil
}

// sink starts the agents, and returns the address at which the second machine takes what the first sends.
func (m *mesh) sink(ctx context.Context) (address netip.Addr, err error) {
	if err := m.start(ctx); err != nil {
		return netip.Addr{}, err
	}
	if err := m.awaitUp(ctx); err != nil {
		return netip.Addr{}, err
	}
	address, err = m.address(ctx, 1)
	if err != nil {
		return netip.Addr{}, err
	}
	if _, err := m.nodes[0].Ping(ctx, address); err != nil {
		return netip.Addr{}, err
	}
	cmd, err := m.nodes[1].Subcommand(ctx, "tcp-sink")
	if err != nil {
		return netip.Addr{}, err
	}
	sink, err := lab.Start(cmd)
	if err != nil {
		return netip.Addr{}, err
	}
	if _, err := sink.Await(ctx, 0, nodecmd.Ready); err != nil {
		return netip.Addr{}, err
	}
	return address, nil
}

// cpuOf returns the processor time that processes have used together.
func cpuOf(pids []int) (sum time.Duration, err error) {
	all, err := costs(pids)
	for _, c := range all {
		sum += c.cpu
	}
	return sum, err
}

// behindNATs has two machines behind symmetric NATs, and a discovery server with a relay. One of them
// may reach the relay over TCP alone.
func behindNATs(overTCP bool) func(context.Context, *mesh) error {
	return func(ctx context.Context, m *mesh) error {
		config, err := m.discover(ctx, "--relay", ":51821")
		if err != nil {
			return err
		}
		for i := range 2 {
			name := fmt.Sprintf("node-%d", i+1)
			site, err := m.lab.AddSite(name+"-router", lab.Symmetric)
			if err != nil {
				return err
			}
			if overTCP && i == 0 {
				if err := nodecmdOn(ctx, site.Router, "block", "udp", "51821", "in"); err != nil {
					return err
				}
			}
			node, err := site.AddNode(name)
			if err != nil {
				return err
			}
			if err := m.add(node, config); err != nil {
				return err
			}
		}
		return nil
	}
}

// server returns the process of the discovery server.
func server(m *mesh) ([]int, error) { return []int{m.server.PID()}, nil }

// aroundMember has two machines that do not reach each other, and a third that forwards, whose agent
// runs already.
func aroundMember(ctx context.Context, m *mesh) error {
	if err := m.prepare(ctx, 3); err != nil {
		return err
	}
	for i, setting := range []string{"relay: forwarding: use: true", "relay: forwarding: use: true", "relay: forwarding: offer: true"} {
		if err := m.set(i, setting); err != nil {
			return err
		}
	}
	member := m.nodes[2]
	if err := member.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"); err != nil {
		return err
	}
	agent, err := lab.Start(member.Spanctl(ctx, "run"))
	if err != nil {
		return err
	}
	if _, err := agent.Await(ctx, 0, "change applied"); err != nil {
		return err
	}
	cmd, err := m.nodes[0].Subcommand(ctx, "partition", m.nodes[1].Address.String())
	if err != nil {
		return err
	}
	partition, err := lab.Start(cmd)
	if err != nil {
		return err
	}
	if _, err := partition.Await(ctx, 0, nodecmd.Ready); err != nil {
		return err
	}
	m.nodes = m.nodes[:2]
	return nil
}

// userspaceOf returns the only process of WireGuard in userspace that runs so far, that of the member.
func userspaceOf(m *mesh) ([]int, error) { return wireguardProcesses(m.lab.Binary) }
