// Command benchmesh measures meshes of many machines on one: the times that users are
// promised, and what an agent and its WireGuard process cost at rest.
//
// It prints the rows of the tables in docs/benchmarks.md. It fails where a promise is not
// kept: run it on a machine that does nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

func main() { os.Exit(lab.Main(nodecmd.Commands, run)) }

func run() int {
	machines := flag.Int("machines", 30, "how many machines the large mesh has")
	idle := flag.Duration("idle", time.Minute, "how long to measure the large mesh at rest")
	promises := flag.Bool("promises", true, "measure the times that users are promised")
	only := flag.String("only", "", "measure only the times whose description contains this, and no large mesh")
	paths := flag.Int("paths", 0, "measure only the ways between two machines, with so many turns each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	var err error
	if *paths > 0 {
		err = measurePaths(ctx, *paths)
	} else if *promises {
		err = checkPromises(ctx, *only)
	}
	if *only == "" && *paths == 0 {
		err = errors.Join(err, measureLarge(ctx, *machines, *idle))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmesh:", err)
		return 1
	}
	return 0
}

// promise is a time that users are promised.
type promise struct {
	what    string
	limit   time.Duration
	measure func(context.Context, *mesh) (time.Duration, error)
	// machines is the size of its mesh.
	machines int
}

var promises = []promise{
	{"ten machines up", 10 * time.Second, untilUp, 10},
	{"up past five dead endpoints", 40 * time.Second, pastDeadEndpoints, 2},
	{"up after a partition of 60 s", 10 * time.Second, afterPartition, 3},
	{"a dead peer is noticed, with traffic", 10 * time.Second, deadWithTraffic, 3},
	{"a dead peer is noticed, without", 20 * time.Second, deadAtRest, 3},
	{"a machine that was set up anew is reached", 5 * time.Second, setUpAnew, 3},
	{"a network that two machines serve is reached, after one dies", 10 * time.Second, afterCrash, 3},
	{"the same, after one withdraws it", 500 * time.Millisecond, afterWithdrawal, 3},
}

// checkPromises measures the promises whose description contains only, and returns an error for
// each that is not kept.
func checkPromises(ctx context.Context, only string) error {
	var failures error
	for _, p := range promises {
		if !strings.Contains(p.what, only) {
			continue
		}
		err := withMesh(ctx, p.machines, func(ctx context.Context, m *mesh) error {
			took, err := p.measure(ctx, m)
			if err != nil {
				return err
			}
			fmt.Printf("| %s | %.1f s | promised: %v |\n", p.what, took.Seconds(), p.limit)
			if took > p.limit {
				return fmt.Errorf("took %v, promised are %v", took, p.limit)
			}
			return nil
		})
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("%s: %w", p.what, err))
		}
	}
	return failures
}

// untilUp starts all machines and waits until all are up.
func untilUp(ctx context.Context, m *mesh) (time.Duration, error) {
	start := time.Now()
	if err := m.start(ctx); err != nil {
		return 0, err
	}
	err := m.awaitUp(ctx)
	return time.Since(start), err
}

// pastDeadEndpoints gives the first machine five addresses at which it does not answer. The
// second announces none, so that it must find the right one.
func pastDeadEndpoints(ctx context.Context, m *mesh) (time.Duration, error) {
	var dead []string
	for i := range 5 {
		dead = append(dead, netip.AddrFrom4([4]byte{172, 20, 0, byte(240 + i)}).String())
	}
	if err := m.nodecmd(ctx, 0, "dead-link", dead...); err != nil {
		return 0, err
	}
	if err := m.set(1, "filters: endpoints: [\"!172.20.0.0/24\"]"); err != nil {
		return 0, err
	}
	if err := m.start(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	err := m.awaitUp(ctx)
	return time.Since(start), err
}

// afterPartition parts two machines for a minute and waits until they are up again.
func afterPartition(ctx context.Context, m *mesh) (time.Duration, error) {
	if err := m.start(ctx); err != nil {
		return 0, err
	}
	if err := m.awaitUp(ctx); err != nil {
		return 0, err
	}
	positions := m.positions()
	cmd, err := m.nodes[0].Subcommand(ctx, "partition", m.nodes[1].Address.String())
	if err != nil {
		return 0, err
	}
	partition, err := lab.Start(cmd)
	if err != nil {
		return 0, err
	}
	if _, err := partition.Await(ctx, 0, nodecmd.Ready); err != nil {
		return 0, err
	}
	if err := sleep(ctx, time.Minute); err != nil {
		return 0, err
	}
	if err := partition.Stop(unix.SIGTERM); err != nil {
		return 0, err
	}
	start := time.Now()
	var group errgroup.Group
	for i, agent := range m.agents[:2] {
		group.Go(func() error {
			_, err := agent.Await(ctx, positions[i], peerUp)
			return err
		})
	}
	err = group.Wait()
	return time.Since(start), err
}

// measureLarge measures a mesh of n machines: how long it takes to come up, and what it
// costs at rest.
func measureLarge(ctx context.Context, n int, idle time.Duration) error {
	return withMesh(ctx, n, func(ctx context.Context, m *mesh) error {
		took, err := untilUp(ctx, m)
		if err != nil {
			return err
		}
		fmt.Printf("| all %d directions of %d machines up | %.1f s |\n", n*(n-1), n, took.Seconds())
		return m.rest(ctx, idle)
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// mesh is a mesh of machines that share a config.
type mesh struct {
	lab    *lab.Lab
	nodes  []*lab.Node
	agents []*lab.Process
	server *lab.Process
}

// limit bounds the work with one mesh.
const limit = 10 * time.Minute

// withMesh makes a mesh of n machines, without agents, and passes it to use.
func withMesh(ctx context.Context, n int, use func(context.Context, *mesh) error) (err error) {
	return withLab(ctx, func(ctx context.Context, m *mesh) error {
		if err := m.prepare(ctx, n); err != nil {
			return err
		}
		return use(ctx, m)
	})
}

// withLab makes a lab for a mesh, and passes it to use.
func withLab(ctx context.Context, use func(context.Context, *mesh) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	binary, err := filepath.Abs(os.Getenv("SPANCTL_BINARY"))
	if err != nil {
		return err
	}
	l, err := lab.New("", binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return use(ctx, &mesh{lab: l})
}

// prepare makes the machines, with a config each, and starts discovery.
func (m *mesh) prepare(ctx context.Context, n int) error {
	config, err := m.discover(ctx)
	if err != nil {
		return err
	}
	for i := range n {
		node, err := m.lab.AddNode(fmt.Sprintf("node-%d", i+1))
		if err != nil {
			return err
		}
		if err := m.add(node, config); err != nil {
			return err
		}
	}
	return nil
}

// discover starts discovery, and returns the config of machines that use it.
func (m *mesh) discover(ctx context.Context, args ...string) (config []byte, err error) {
	discovery, err := m.lab.AddNode("discovery")
	if err != nil {
		return nil, err
	}
	args = append([]string{"discovery", "serve", "--listen", ":3000", "--insecure", "--store", "memory", "--state-dir", discovery.Dir}, args...)
	if m.server, err = lab.Start(discovery.Spanctl(ctx, args...)); err != nil {
		return nil, err
	}
	if _, err := m.server.Await(ctx, 0, "serving discovery"); err != nil {
		return nil, err
	}
	return discovery.Spanctl(ctx, "gen", "config", "--with-kubespan",
		"--discovery-endpoint", "http://"+discovery.Address.String()+":3000", "-o", "-").Output()
}

// add adds a machine with a config.
func (m *mesh) add(node *lab.Node, config []byte) error {
	m.nodes = append(m.nodes, node)
	return os.WriteFile(node.Config(), config, 0o600)
}

// set adds a setting to the kubespan section of a machine's config.
func (m *mesh) set(machine int, setting string) error {
	path := m.nodes[machine].Config()
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), "enabled: true\n", "enabled: true\n\t"+setting+"\n", 1)
	return os.WriteFile(path, []byte(changed), 0o600)
}

// nodecmd runs a command of package nodecmd on a machine.
func (m *mesh) nodecmd(ctx context.Context, machine int, name string, args ...string) error {
	return nodecmdOn(ctx, m.nodes[machine], name, args...)
}

func nodecmdOn(ctx context.Context, node *lab.Node, name string, args ...string) error {
	cmd, err := node.Subcommand(ctx, name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func (m *mesh) start(ctx context.Context) error {
	for _, node := range m.nodes {
		agent, err := lab.Start(node.Spanctl(ctx, "run"))
		if err != nil {
			return err
		}
		m.agents = append(m.agents, agent)
	}
	return nil
}

// peerUp is what an agent logs when a peer comes up.
const peerUp = "peer up"

// awaitUp waits until each agent has logged that all others are up.
func (m *mesh) awaitUp(ctx context.Context) error {
	var group errgroup.Group
	for _, agent := range m.agents {
		group.Go(func() error {
			position := 0
			for range len(m.agents) - 1 {
				var err error
				if position, err = agent.Await(ctx, position, peerUp); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// positions returns how much each agent has logged.
func (m *mesh) positions() []int {
	all := make([]int, len(m.agents))
	for i, agent := range m.agents {
		all[i] = len(agent.Output())
	}
	return all
}
