// Command demo shows spanctl's main job on one machine: in network namespaces, a discovery
// server and three machines become a mesh.
//
// It runs the binary that SPANCTL_BINARY names, and prints each command as a user types it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// patience bounds the whole demo.
const patience = time.Minute

func main() { os.Exit(lab.Main(nil, run)) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	if err := demonstrate(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Printf("\nDone in %.0f s. Nothing is left on this machine.\nOn yours, `spanctl status` shows how the mesh is.\n", time.Since(began).Seconds())
	return 0
}

func demonstrate(ctx context.Context) (err error) {
	l, err := lab.New("", os.Getenv("SPANCTL_BINARY"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d := &demo{lab: l}
	for _, step := range []func(context.Context) error{
		d.host, d.configure, d.join, d.see, d.reach, d.edit, d.down, d.outage,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// demo is the state that the steps share.
type demo struct {
	lab       *lab.Lab
	discovery *lab.Node
	server    *lab.Process
	nodes     []*lab.Node
	agents    []*lab.Process
}

// say prints a heading, in bold on a terminal.
func say(text string) {
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" {
		text = "\033[1m" + text + "\033[0m"
	}
	fmt.Printf("\n%s\n", text)
}

// show runs spanctl on a node and prints the command and its output.
func (d *demo) show(ctx context.Context, n *lab.Node, args ...string) error {
	typed := strings.ReplaceAll(strings.Join(args, " "), n.Config(), "machine.cue")
	fmt.Printf("%s# spanctl %s\n", n.Name, typed)
	out, err := n.Spanctl(ctx, args...).CombinedOutput()
	fmt.Print(strings.ReplaceAll(string(out), n.Config(), "machine.cue"))
	if err != nil {
		return fmt.Errorf("spanctl %s on %s: %w", typed, n.Name, err)
	}
	return nil
}

// host starts the discovery server.
func (d *demo) host(ctx context.Context) (err error) {
	say("1. Any machine can host discovery.")
	if d.discovery, err = d.lab.AddNode("discovery"); err != nil {
		return err
	}
	args := []string{"discovery", "serve", "--listen", ":3000", "--insecure"}
	fmt.Printf("discovery# spanctl %s\n", strings.Join(args, " "))
	if d.server, err = lab.Start(d.discovery.Spanctl(ctx, args...)); err != nil {
		return err
	}
	_, err = d.server.Await(ctx, 0, "serving discovery")
	return err
}

// configure makes the config of the first machine, and starts its agent.
func (d *demo) configure(ctx context.Context) error {
	say("2. The first machine makes a config, and runs the agent.")
	for i := range 3 {
		node, err := d.lab.AddNode(fmt.Sprintf("node-%d", i+1))
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, node)
	}
	first := d.nodes[0]
	endpoint := "http://" + d.discovery.Address.String() + ":3000"
	if err := d.show(ctx, first, "gen", "config", "--with-kubespan", "--discovery-endpoint", endpoint, "-o", first.Config()); err != nil {
		return err
	}
	return d.run(ctx, first)
}

// run starts the agent of a machine.
func (d *demo) run(ctx context.Context, n *lab.Node) error {
	fmt.Printf("%s# spanctl run &\n", n.Name)
	agent, err := lab.Start(n.Spanctl(ctx, "run"))
	if err != nil {
		return err
	}
	d.agents = append(d.agents, agent)
	_, err = agent.Await(ctx, 0, "agent started")
	return err
}

// join has the other machines join by the line that the first one prints.
func (d *demo) join(ctx context.Context) error {
	say("3. It invites the others by one line, with which they join.")
	fmt.Println("node-1# spanctl invite --uses 2")
	cmd := d.nodes[0].Spanctl(ctx, "invite", "--uses", "2")
	cmd.Stderr = os.Stdout
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("spanctl invite on node-1: %w", err)
	}
	fmt.Print(string(out))
	_, line, _ := strings.Cut(strings.TrimSpace(string(out)), "spanctl join ")
	for _, n := range d.nodes[1:] {
		if err := d.run(ctx, n); err != nil {
			return err
		}
		if err := d.show(ctx, n, "join", "--yes", line); err != nil {
			return err
		}
	}
	return nil
}

// see follows the peers of the first machine until they are up.
func (d *demo) see(ctx context.Context) error {
	say("4. They have found each other.")
	node := d.nodes[0]
	fmt.Printf("%s# spanctl get kubespanpeerstatuses -w\n", node.Name)
	watch, err := lab.Start(node.Spanctl(ctx, "get", "kubespanpeerstatuses", "-w"))
	if err != nil {
		return err
	}
	for from, up := 0, map[string]bool{}; len(up) < len(d.nodes)-1; {
		next, err := watch.Await(ctx, from, "\n")
		if err != nil {
			return err
		}
		line := watch.Output()[from:next]
		fmt.Print(line)
		if fields := strings.Fields(line); len(fields) > 5 && fields[5] == "up" {
			up[fields[3]] = true
		}
		from = next
	}
	if err := watch.Stop(os.Interrupt); err != nil {
		return err
	}
	return d.show(ctx, node, "status")
}

// meshAddress returns a node's address in the mesh.
func (d *demo) meshAddress(ctx context.Context, n *lab.Node) (netip.Addr, error) {
	out, err := n.Spanctl(ctx, "get", "kubespanidentities").Output()
	if err != nil {
		return netip.Addr{}, err
	}
	fields := strings.Fields(string(out))
	if len(fields) != 8 {
		return netip.Addr{}, fmt.Errorf("the identity of %s is %q", n.Name, out)
	}
	prefix, err := netip.ParsePrefix(fields[6])
	return prefix.Addr(), err
}

func (d *demo) reach(ctx context.Context) error {
	say("5. They reach each other over the mesh, and no change is left to make.")
	address, err := d.meshAddress(ctx, d.nodes[2])
	if err != nil {
		return err
	}
	pings, err := d.nodes[0].Ping(ctx, address)
	if err != nil {
		return err
	}
	fmt.Printf("node-1# ping %s\nanswered by node-3 after %.1f ms\n", address, pings.First.Seconds()*1000)
	return d.clean(ctx, d.nodes...)
}

// clean shows that no node differs from its config. It waits for a pass that still runs.
func (d *demo) clean(ctx context.Context, nodes ...*lab.Node) error {
	for _, n := range nodes {
		for n.Spanctl(ctx, "diff").Run() != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s still differs from its config", n.Name)
			}
		}
		if err := d.show(ctx, n, "diff"); err != nil {
			return err
		}
	}
	fmt.Println("(no output: no difference)")
	return nil
}

// keepPinging starts a stream of pings from the first machine to the third.
func (d *demo) keepPinging(ctx context.Context) (*lab.Pinging, error) {
	address, err := d.meshAddress(ctx, d.nodes[2])
	if err != nil {
		return nil, err
	}
	return d.nodes[0].KeepPinging(ctx, address)
}

// edit changes a config file under traffic.
func (d *demo) edit(ctx context.Context) error {
	say("6. A saved edit of the file is applied at once, without losing a packet.")
	pinging, err := d.keepPinging(ctx)
	if err != nil {
		return err
	}
	// Only the first match: discovery has a setting of the same name.
	script := `0,/enabled: true/s//&\n\tmtu: 1380/`
	fmt.Printf("node-1# sed -i '%s' machine.cue\n", script)
	if out, err := d.nodes[0].Command(ctx, "sed", "-i", script, d.nodes[0].Config()).CombinedOutput(); err != nil {
		return fmt.Errorf("sed: %w: %s", err, out)
	}
	if _, err := d.agents[0].Await(ctx, 0, "mtu 1420 -> 1380"); err != nil {
		return err
	}
	fmt.Println("node-1 logs:", logLine(d.agents[0], "mtu 1420 -> 1380"))
	if err := d.clean(ctx, d.nodes...); err != nil {
		return err
	}
	return d.lost(ctx, pinging)
}

// logLine returns the first line of a process's log that contains text.
func logLine(p *lab.Process, text string) string {
	for line := range strings.Lines(p.Output()) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// lost ends a stream of pings after a second and prints how many were lost.
func (d *demo) lost(ctx context.Context, pinging *lab.Pinging) error {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	pings, err := pinging.Stop()
	if err != nil {
		return err
	}
	fmt.Printf("node-1 pinged node-3 all the time: %d sent, %d lost\n", pings.Sent, pings.Lost())
	if pings.Lost() > 0 {
		return errors.New("packets were lost")
	}
	return nil
}

// down takes the second machine out of the mesh.
func (d *demo) down(ctx context.Context) error {
	say("7. `spanctl down` leaves nothing behind.")
	return d.show(ctx, d.nodes[1], "down")
}

// outage stops discovery: the mesh needs it to grow, not to live.
func (d *demo) outage(ctx context.Context) error {
	say("8. Discovery stops. The mesh stays up.")
	pinging, err := d.keepPinging(ctx)
	if err != nil {
		return err
	}
	if err := d.server.Stop(unix.SIGTERM); err != nil {
		return err
	}
	if err := d.show(ctx, d.nodes[0], "status"); err != nil {
		return err
	}
	if err := d.clean(ctx, d.nodes[0], d.nodes[2]); err != nil {
		return err
	}
	return d.lost(ctx, pinging)
}
