package chaos

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/internal/soak"
	"github.com/spanmesh/span/e2e/internal/walk"
	"github.com/spanmesh/span/e2e/internal/wire"
	"github.com/spanmesh/span/e2e/lab"
)

const (
	// machines is the number of machines of a world. The last is behind a NAT.
	machines = 6
	// offers is the number of the machine that is a relay for the others, beside that of a server.
	offers = 1
	// relayPort is the UDP port of the blind relay.
	relayPort = "51821"
	// ledgerCluster is the cluster of the ledger, of which the machines are no members.
	ledgerCluster = "ledger"
	// stateSize is the size of the disks of the machines' state, serverDisk that of the store, in KiB.
	stateSize, serverDisk = "4096", "32768"
	// starting bounds the start of a process, and ending its end after a signal.
	starting, ending = time.Minute, 30 * time.Second
	// sayEvery is how often a long walk says that it goes on, in groups of faults.
	sayEvery = 50
	// commanding bounds a command that a step runs. It may fail.
	commanding = 15 * time.Second
)

// world is a mesh of six machines, two discovery servers and a relay, in which a walk is made.
type world struct {
	t    *testing.T
	mesh *harness.Mesh
	// began is when the world was made.
	began time.Time
	// number is that of the world in this program.
	number  int
	nodes   []*node
	servers []*server
	// router is that of the last machine.
	router  *harness.Machine
	capture *capture
	// spoken is a text that the capture must hear.
	spoken string

	ledger soak.Ledger
	// writing is held while the ledger is written or checked.
	writing sync.Mutex

	// heals end what is wrong, in the order of their stages.
	heals [stages][]heal
	// isExposed is set while packets between machines may leave in clear, by their operator's will.
	isExposed bool
	// isFull is set while the disk of the server's store is.
	isFull bool
	// journal has what was done, for the report of a finding.
	journal strings.Builder
	// faults counts those since all was well.
	faults int
	// quiet counts the times that all was well, done the steps.
	quiet, done int
}

// node is a machine of the mesh.
type node struct {
	*harness.Machine
	beacon *beacon
	// config is what the machine has when all is well.
	config string
	// runs is set while the agent is to run, paused while it is stopped by a signal.
	runs, paused bool
	// planted is set where the planted action "spring" breaks the machine.
	planted bool
	// layers are the defences against packets in clear that were taken since all was well.
	layers map[string]bool
	// wireguard is the process ID of WireGuard when all was well, 0 for none. restarts is set where it may
	// be another one since.
	wireguard int
	restarts  bool
	// damages counts the changes of the kernel since the agent's start.
	damages int
	// first is what the agent used when all was well for the first time since its start.
	first *usage
	// home is the address that the machine has at first.
	home netip.Addr
	// gateway is that of its default route: without one, the kernel sends nothing to other networks,
	// nor into the mesh.
	gateway netip.Addr
	// before is the end of what the agent's last process printed.
	before string
}

// server is a discovery server.
type server struct {
	machine      *harness.Machine
	args         []string
	process      *harness.Process
	runs, paused bool
	first        *usage
	// store is the path of its file; "" for a store in memory.
	store string
}

// The stages of healing: what covers files, the world around, what was paused, what has ended, what is on trial, and
// what waits for a command. A machine that was down before a trial is down again after it.
const (
	uncovered = iota
	around
	resumed
	restarted
	tried
	commanded
	stages
)

type heal struct {
	name string
	do   func()
}

// newWorld makes a world without machines. Worlds of one program have different numbers.
func newWorld(t *testing.T, number int) *world {
	t.Helper()
	return &world{t: t, began: time.Now(), number: number, spoken: fmt.Sprintf("spoken-in-clear-%d.", number)}
}

// start makes the machines and starts all that runs on them.
func (w *world) start() {
	w.t.Helper()
	t, number := w.t, w.number
	w.mesh = harness.NewMeshOn(t, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, byte(number), 0}), 24), 0)
	second := w.mesh.Add("second")
	w.fault(w.mesh.Lab.Join())
	gateway := second.Address.Next() // this program, which forwards nothing
	disk := filepath.Join(second.Dir, "disk")
	second.Exec.Nodecmd("cover", disk, serverDisk)
	store := filepath.Join(disk, "discovery.db")
	w.servers = []*server{
		{machine: w.mesh.Discovery, args: []string{"--store", "memory"}},
		{machine: second, args: []string{"--store", "bolt:" + store, "--relay", ":" + relayPort, "--state-dir", disk}, store: store},
	}
	w.mesh.Config = strings.Replace(w.mesh.Config, `endpoint: "`+w.mesh.Endpoint()+`"`,
		`endpoints: ["`+w.mesh.Endpoint()+`", "`+harness.URL(second)+`"]`, 1)
	for _, s := range w.servers {
		w.startServer(s)
	}
	w.startCapture(number)
	for i := range machines {
		w.addNode(i, w.canary(number), gateway)
	}
	w.router = w.mesh.RouterOf(w.nodes[machines-1].Machine)
	w.startLedger()
}

func (w *world) canary(number int) string { return fmt.Sprintf("%s-%d.", nodecmd.Canary, number) }

// fault ends the walk with an error that is no finding.
func (w *world) fault(err error) {
	w.t.Helper()
	if err != nil {
		fmt.Printf("world %d: the walk itself has failed: %v\n", w.number, err) // what a test says is shown when it ends
		w.t.Fatalf("%v\n%s", err, w.journal.String())
	}
}

// note adds a line to the journal.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%7.2fs  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
	w.journal.WriteString(line)
	if testing.Verbose() {
		fmt.Printf("world %d %s", w.number, line)
	}
}

func (w *world) startCapture(number int) {
	var err error
	w.capture, err = startCapture(w.canary(number), w.spoken)
	w.fault(err)
	w.t.Cleanup(func() {
		if err := w.capture.close(); err != nil {
			w.t.Error(err)
		}
	})
}

// addNode makes a machine and starts its agent.
func (w *world) addNode(i int, canary string, gateway netip.Addr) {
	name := fmt.Sprintf("node-%d", i+1)
	var machine *harness.Machine
	if i == machines-1 {
		machine = w.mesh.AddBehindNAT(lab.Symmetric, name)
	} else {
		machine = w.mesh.Join(w.mesh.Add(name))
	}
	n := &node{Machine: machine, home: machine.Address, gateway: gateway, config: w.mesh.Config, layers: map[string]bool{}}
	if i == machines-1 {
		n.gateway = machine.Address.Prev()
	} else {
		w.try(machine, "default-route", gateway.String())
	}
	if i == offers {
		n.config = harness.Edit(n.config, "relay: offer: true")
	}
	n.Files.WriteConfig(n.config)
	n.Exec.Nodecmd("cover", n.StateDir(), stateSize)
	var err error
	n.beacon, err = startBeacon(machine, canary)
	w.fault(err)
	w.nodes = append(w.nodes, n)
	w.startAgent(n)
}

// startAgent starts the agent of a machine unless it runs.
func (w *world) startAgent(n *node) {
	if n.runs {
		return
	}
	if n.Agent.Process != nil {
		n.before = tail(n.Agent.Output(), 30) + "\n--- it started again\n"
	}
	n.Agent.Process = n.CLI.Start("run")
	w.await(n.Agent.Process, "agent started")
	n.runs, n.paused, n.first, n.damages = true, false, nil, 0
}

func (w *world) startServer(s *server) {
	if s.runs {
		return
	}
	s.process = s.machine.CLI.Start(append([]string{"discovery", "serve", "--listen", ":" + harness.DiscoveryPort, "--insecure"}, s.args...)...)
	w.await(s.process, "serving discovery")
	s.runs, s.paused, s.first = true, false, nil
}

// await waits until a process says that it has started.
func (w *world) await(p *harness.Process, text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), starting)
	defer cancel()
	if _, err := p.Await(ctx, 0, text); err != nil {
		w.find("start", "%v", err)
	}
}

// end sends a signal to a process that does not ignore it, and waits for its end.
func (w *world) end(p *harness.Process, signal unix.Signal) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), ending)
	defer cancel()
	w.fault(unix.Kill(p.PID(), signal))
	err := p.Wait(ctx)
	if ctx.Err() != nil || signal == unix.SIGTERM && err != nil {
		w.find("end", "on %s: %v", signal, err)
	}
}

// try runs a command of package nodecmd in a machine. A fault that does not apply does nothing.
func (w *world) try(m *harness.Machine, name string, args ...string) (out string, ok bool) {
	ctx, cancel := context.WithTimeout(w.t.Context(), commanding)
	defer cancel()
	cmd, err := m.Subcommand(ctx, name, args...)
	w.fault(err)
	text, err := cmd.CombinedOutput()
	if err != nil {
		w.note("  %s %v on %s: %v: %s", name, args, m.Name, err, strings.TrimSpace(string(text)))
	}
	return strings.TrimSpace(string(text)), err == nil
}

// command runs a program in a machine. It may fail.
func (w *world) command(m *harness.Machine, program string, args ...string) (out string, ok bool) {
	ctx, cancel := context.WithTimeout(w.t.Context(), commanding)
	defer cancel()
	text, err := m.Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		w.note("  %s %s on %s: %v: %s", filepath.Base(program), strings.Join(args, " "), m.Name, err, strings.TrimSpace(string(text)))
	}
	return strings.TrimSpace(string(text)), err == nil
}

// spanctl runs spanctl in a machine. It may fail.
func (w *world) spanctl(n *node, args ...string) (out string, ok bool) {
	return w.command(n.Machine, n.Binary(), args...)
}

// onHeal has something be done when faults are healed, once for each name.
func (w *world) onHeal(stage int, name string, do func()) {
	if w.isToHeal(stage, name) {
		return
	}
	w.heals[stage] = append(w.heals[stage], heal{name, do})
}

// isToHeal reports whether something is done already when faults are healed.
func (w *world) isToHeal(stage int, name string) bool {
	return slices.ContainsFunc(w.heals[stage], func(h heal) bool { return h.name == name })
}

// startLedger writes to the server that keeps its store, for as long as the test runs.
func (w *world) startLedger() {
	address := net.JoinHostPort(w.servers[1].machine.Address.String(), harness.DiscoveryPort)
	client, err := wire.NewClient(address, nil, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", address)
	})
	w.fault(err)
	w.ledger = soak.NewLedger(client)
	ctx, cancel := context.WithCancel(w.t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.writing.Lock()
			_ = w.ledger.Write(ctx, ledgerCluster, "member-"+strconv.Itoa(i%8)) // the server may be down
			w.writing.Unlock()
		}
	})
	w.t.Cleanup(func() {
		cancel()
		writer.Wait()
		client.Close()
	})
}

// lan returns the addresses of the other machines on their networks, and in the mesh.
func (w *world) others(n *node) (lan []netip.Addr) {
	for _, other := range w.nodes {
		if other != n {
			lan = append(lan, other.Address)
		}
	}
	return lan
}

// expose notes that packets between the machines may leave in clear until all is well again: canaries
// are sent no more.
func (w *world) expose(why string) {
	if w.isExposed {
		return
	}
	w.note("  nothing is said of packets in clear: %s", why)
	for _, n := range w.nodes {
		w.fault(n.beacon.stream(nil))
	}
	// Canaries that are on their way now, and the answers to them, may be in clear.
	w.checkClear()
	w.isExposed = true
}

// finding is what does not hold.
type finding struct {
	// invariant is its name.
	invariant string
	text      string
}

// find ends the walk with a finding.
func (w *world) find(invariant, format string, args ...any) {
	panic(&finding{invariant, fmt.Sprintf(format, args...)})
}

// catch does something and returns the finding that it ends with, or nil.
func catch(do func()) (found *finding) {
	defer func() {
		if r := recover(); r != nil {
			var ok bool
			if found, ok = r.(*finding); !ok {
				panic(r)
			}
		}
	}()
	do()
	return nil
}

// make does the steps of a walk, until the first finding. All faults are healed at the end.
func (w *world) make(steps walk.Walk) {
	w.heal()
	for _, s := range steps {
		w.done++
		w.step(s)
	}
	if len(steps) > 0 && steps[len(steps)-1].Action != walk.Heal {
		w.heal()
	}
}

// step does a step, and waits for its pause.
func (w *world) step(s walk.Step) {
	w.note("%s", s)
	if s.Action == walk.Heal {
		w.heal()
		return
	}
	a, ok := known(s.Action)
	if !ok {
		w.t.Fatalf("the action %q is not known", s.Action)
	}
	n := w.nodes[s.Node%len(w.nodes)]
	if a.exposes {
		w.expose(s.Action)
	}
	for _, layer := range a.layers {
		if len(n.layers) > 0 && !n.layers[layer] {
			w.expose("a second defence of " + n.Name)
		}
		n.layers[layer] = true
	}
	if _, ok := kernelActions[s.Action]; ok || len(a.layers) > 0 {
		n.damages++
	}
	n.restarts = n.restarts || a.restarts
	a.do(w, n, s.Argument)
	w.faults++
	select {
	case <-time.After(s.Pause):
	case <-w.t.Context().Done():
	}
	w.checkAlways()
}

// heal ends all faults and waits until all is well.
func (w *world) heal() {
	began := time.Now()
	for stage := range w.heals {
		for _, h := range w.heals[stage] {
			h.do()
		}
		w.heals[stage] = nil
	}
	w.awaitWell()
	w.checkWireguard()
	for _, n := range w.nodes {
		clear(n.layers)
	}
	w.isExposed, w.isFull, w.faults = false, false, 0
	w.quiet++
	w.note("all is well after %v", time.Since(began).Round(10*time.Millisecond))
	if w.quiet%sayEvery == 0 {
		fmt.Printf("world %d: all was well %d times in %v\n", w.number, w.quiet, time.Since(w.began).Round(time.Second))
	}
}

// logs returns the last lines of all processes.
func (w *world) logs() string {
	var b strings.Builder
	for _, s := range w.servers {
		fmt.Fprintf(&b, "--- the server of %s:\n%s\n", s.machine.Name, tail(s.process.Output(), 20))
	}
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "--- the agent of %s, %s:\n%s\n", n.Name, n.Address, n.before+tail(n.Agent.Output(), 60))
	}
	return b.String()
}
