// Command crowd measures a mesh of many machines on one: how long it takes until
// every machine sees all others up, and what an agent and its WireGuard process
// cost when nothing happens.
//
// It prints the rows of the table in docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

func main() { os.Exit(lab.Main(nil, run)) }

func run() int {
	machines := flag.Int("machines", 30, "how many machines")
	idle := flag.Duration("idle", time.Minute, "how long to measure the mesh at rest")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := measure(ctx, *machines, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		return 1
	}
	return 0
}

// crowd is a mesh of machines.
type crowd struct {
	lab    *lab.Lab
	nodes  []*lab.Node
	agents []*lab.Process
}

func measure(ctx context.Context, n int, idle time.Duration) (err error) {
	binary, err := filepath.Abs(os.Getenv("SPANCTL_BINARY"))
	if err != nil {
		return err
	}
	l, err := lab.New("", binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c := &crowd{lab: l}
	if err := c.prepare(ctx, n); err != nil {
		return err
	}
	began := time.Now()
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.awaitUp(ctx); err != nil {
		return err
	}
	fmt.Printf("| all %d directions of %d machines up | %.1f s |\n", n*(n-1), n, time.Since(began).Seconds())
	return c.rest(ctx, idle)
}

// prepare makes the machines, with a config each, and starts discovery.
func (c *crowd) prepare(ctx context.Context, n int) error {
	discovery, err := c.lab.AddNode("discovery")
	if err != nil {
		return err
	}
	server, err := lab.Start(discovery.Spanctl(ctx, "discovery", "serve", "--listen", ":3000", "--insecure", "--store", "memory"))
	if err != nil {
		return err
	}
	if _, err := server.Await(ctx, 0, "serving discovery"); err != nil {
		return err
	}
	config, err := discovery.Spanctl(ctx, "gen", "config", "--with-kubespan",
		"--discovery-endpoint", "http://"+discovery.Address.String()+":3000", "-o", "-").Output()
	if err != nil {
		return err
	}
	for i := range n {
		node, err := c.lab.AddNode(fmt.Sprintf("node-%d", i+1))
		if err != nil {
			return err
		}
		if err := os.WriteFile(node.Config(), config, 0o600); err != nil {
			return err
		}
		c.nodes = append(c.nodes, node)
	}
	return nil
}

func (c *crowd) start(ctx context.Context) error {
	for _, node := range c.nodes {
		agent, err := lab.Start(node.Spanctl(ctx, "run"))
		if err != nil {
			return err
		}
		c.agents = append(c.agents, agent)
	}
	return nil
}

// awaitUp waits until each agent has said of all others that they are up.
func (c *crowd) awaitUp(ctx context.Context) error {
	var group errgroup.Group
	for _, agent := range c.agents {
		group.Go(func() error {
			position := 0
			for range len(c.agents) - 1 {
				var err error
				if position, err = agent.Await(ctx, position, "peer up"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// cost is what a process has used.
type cost struct {
	cpu time.Duration
	// resident are all its pages in memory, own those that are not of the program's
	// file, which all processes share; share divides each page by those that have
	// it, so that the shares of all are what is in use. In KiB.
	resident, own, share int
}

// rest measures the processes while nothing happens.
func (c *crowd) rest(ctx context.Context, idle time.Duration) error {
	agents := make([]int, len(c.agents))
	for i, a := range c.agents {
		agents[i] = a.PID()
	}
	processes, err := wireguardProcesses(c.lab.Binary)
	if err != nil {
		return err
	}
	// What came up just now settles first.
	if err := sleep(ctx, idle/2); err != nil {
		return err
	}
	before, err := costs(agents, processes)
	if err != nil {
		return err
	}
	if err := sleep(ctx, idle); err != nil {
		return err
	}
	after, err := costs(agents, processes)
	if err != nil {
		return err
	}
	report("agent", agents, before, after, idle)
	report("WireGuard process", processes, before, after, idle)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// wireguardProcesses are the processes of this binary that run WireGuard. They
// are all the lab's: nobody else has this binary's path.
func wireguardProcesses(binary string) (pids []int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		command, _ := os.ReadFile(path)
		if strings.HasPrefix(string(command), binary+"\x00wireguard-process\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func costs(lists ...[]int) (map[int]cost, error) {
	all := map[int]cost{}
	for _, pid := range slices.Concat(lists...) {
		c, err := costOf(pid)
		if err != nil {
			return nil, err
		}
		all[pid] = c
	}
	return all, nil
}

// ticks is how many clock ticks the kernel counts in a second (proc(5); USER_HZ
// is 100 on every architecture that Go runs on).
const ticks = 100

// costOf reads what a process has used (proc(5): utime and stime are the 14th and
// 15th field of stat; the memory is in smaps_rollup).
func costOf(pid int) (cost, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cost{}, err
	}
	// The second field, in parentheses, may have spaces.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return cost{}, err
	}
	var used int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return cost{}, err
		}
		used += n
	}
	c := cost{cpu: time.Duration(used) * time.Second / ticks}
	for line := range strings.Lines(string(memory)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Rss":
			_, err = fmt.Sscanf(value, "%d", &c.resident)
		case "Pss":
			_, err = fmt.Sscanf(value, "%d", &c.share)
		case "Anonymous":
			_, err = fmt.Sscanf(value, "%d", &c.own)
		}
		if err != nil {
			return cost{}, fmt.Errorf("read %s of process %d: %w", name, pid, err)
		}
	}
	return c, nil
}

func report(what string, pids []int, before, after map[int]cost, idle time.Duration) {
	if len(pids) == 0 {
		return
	}
	var cpu time.Duration
	var resident, own, share int
	for _, pid := range pids {
		cpu += after[pid].cpu - before[pid].cpu
		resident += after[pid].resident
		own += after[pid].own
		share += after[pid].share
	}
	const mebi = 1 << 10
	n := float64(len(pids))
	fmt.Printf("| %s at rest, of a core | %.2f %% |\n", what, 100*cpu.Seconds()/idle.Seconds()/n)
	fmt.Printf("| %s at rest, memory of its own | %.1f MiB |\n", what, float64(own)/n/mebi)
	fmt.Printf("| %s at rest, with its share of the program's file | %.1f MiB |\n", what, float64(share)/n/mebi)
	fmt.Printf("| %s at rest, resident, with all of the program's file | %.1f MiB |\n", what, float64(resident)/n/mebi)
}
