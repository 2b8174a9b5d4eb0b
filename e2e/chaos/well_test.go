package chaos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

const (
	// healing bounds how long it takes until all is well once the faults are healed.
	healing = 60 * time.Second
	// echoing is how much longer the loss of packets may be shown: it is that of the last 20 echoes, which
	// are 5 s apart.
	echoing = 60 * time.Second
	// lookPause is the time between two looks.
	lookPause = 100 * time.Millisecond
	// answering bounds a call of an agent, reaching how long a machine tries to reach the others.
	answering, reaching = 10 * time.Second, 5 * time.Second
)

// problem is what is not well, of an invariant.
type problem struct{ invariant, text string }

// lossy is the invariant that no PacketLoss breaks.
const lossy = "lossy"

func (p problem) isNotLoss() bool { return p.invariant != lossy }

// awaitWell waits until all that must hold after healing does.
func (w *world) awaitWell() {
	w.hearControl()
	began, said := time.Now(), ""
	deadline := began.Add(healing)
	for {
		problems := w.look()
		w.checkAlways()
		if len(problems) == 0 {
			return
		}
		var lines []string
		for _, p := range problems {
			lines = append(lines, p.invariant+": "+p.text)
		}
		if now := strings.Join(lines, "\n            "); now != said {
			w.note("  not well: %s", now)
			said = now
		}
		if now := time.Now(); now.After(deadline.Add(echoing)) || now.After(deadline) && slices.ContainsFunc(problems, problem.isNotLoss) {
			w.find(problems[0].invariant, "after %v:\n%s", now.Sub(began).Round(time.Second), strings.Join(lines, "\n"))
		}
		select {
		case <-time.After(lookPause):
		case <-w.t.Context().Done():
			w.fault(w.t.Context().Err())
		}
	}
}

// look returns what is not well. The costlier looks come when the cheaper ones find nothing.
func (w *world) look() []problem {
	ctx, cancel := context.WithTimeout(w.t.Context(), answering)
	defer cancel()
	views := make([]view, len(w.nodes))
	var group errgroup.Group
	for i, n := range w.nodes {
		group.Go(func() error {
			views[i] = w.view(ctx, n)
			return nil
		})
	}
	_ = group.Wait()
	var problems []problem
	for _, v := range views {
		problems = append(problems, v.problems...)
	}
	if len(problems) > 0 {
		return problems
	}
	if problems = w.reachAll(views); len(problems) > 0 {
		return problems
	}
	if problems = w.findWireguard(); len(problems) > 0 {
		return problems
	}
	if problems = w.checkLedger(); len(problems) > 0 {
		return problems
	}
	if problems = w.checkCommands(); len(problems) > 0 {
		return problems
	}
	return w.checkUsage()
}

// view is what an agent says.
type view struct {
	mesh     netip.Addr
	problems []problem
}

// client returns a client of the agent's API that keeps no connection.
func (n *node) client() agentpbconnect.AgentServiceClient {
	return agentpbconnect.NewAgentServiceClient(&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.Socket())
		},
	}}, "http://spanctl")
}

// view asks an agent for all that it says of the mesh.
func (w *world) view(ctx context.Context, n *node) (v view) {
	add := func(invariant, format string, args ...any) {
		v.problems = append(v.problems, problem{invariant, n.Name + ": " + fmt.Sprintf(format, args...)})
	}
	client := n.client()
	health, err := client.GetHealth(ctx, connect.NewRequest(&agentpb.GetHealthRequest{}))
	if err != nil {
		add("answer", "health: %v", err)
		return v
	}
	h := health.Msg
	for _, c := range h.GetConditions() {
		if c.GetCode() == onTrial || c.GetSeverity() != "info" && !w.isRight(n, c.GetCode()) {
			invariant := "healthy"
			if c.GetCode() == "PacketLoss" {
				invariant = lossy
			}
			add(invariant, "%s %s %s: %s", c.GetSeverity(), c.GetCode(), c.GetSubject(), c.GetCause())
		}
	}
	if h.GetState() == "starting" || !h.GetLive() {
		add("healthy", "state %s, live %v", h.GetState(), h.GetLive())
	}
	if prefix, err := netip.ParsePrefix(h.GetMesh().GetAddress()); err == nil {
		v.mesh = prefix.Addr()
	} else if v.mesh, err = netip.ParseAddr(h.GetMesh().GetAddress()); err != nil {
		add("healthy", "the address in the mesh is %q", h.GetMesh().GetAddress())
	}
	up := 0
	for _, p := range h.GetPeers() {
		if p.GetState() == "up" {
			up++
		} else {
			add("peers", "%s is %s by %s", p.GetName(), p.GetState(), p.GetPathKind())
		}
	}
	if len(h.GetPeers()) != machines-1 && len(v.problems) == 0 {
		add("peers", "%d peers, want %d", len(h.GetPeers()), machines-1)
	}
	if len(v.problems) > 0 {
		return v
	}
	w.viewDetails(ctx, n, client, add)
	return v
}

// viewDetails asks for what differs from the config, and whether the addresses of the others are routed.
func (w *world) viewDetails(ctx context.Context, n *node, client agentpbconnect.AgentServiceClient, add func(invariant, format string, args ...any)) {
	diff, err := client.Diff(ctx, connect.NewRequest(&agentpb.DiffRequest{}))
	if err != nil {
		add("answer", "diff: %v", err)
		return
	}
	if changes := diff.Msg.GetPlan().GetChanges(); len(changes) > 0 || diff.Msg.GetConfigError() != "" {
		add("diff", "%v %s", changes, diff.Msg.GetConfigError())
	}
	specs, err := client.List(ctx, connect.NewRequest(&agentpb.ListRequest{Type: "kubespanpeerspecs"}))
	if err != nil {
		add("answer", "peerspecs: %v", err)
		return
	}
	var routed []string
	for _, r := range specs.Msg.GetResources() {
		allowed, _ := r.GetSpec().AsMap()["allowedIPs"].([]any)
		for _, a := range allowed {
			routed = append(routed, fmt.Sprint(a))
		}
	}
	for _, other := range w.nodes {
		if other != n && !slices.Contains(routed, netip.PrefixFrom(other.Address, 32).String()) {
			add("peers", "%s of %s is not routed", other.Address, other.Name)
		}
	}
}

const (
	// repeatedRepairs is the code of a condition, and repairsInARow how many repairs an agent makes without it.
	repeatedRepairs = "RepeatedRepairs"
	repairsInARow   = 5
)

// isRight reports whether a condition is right although all is well.
func (w *world) isRight(n *node, code string) bool {
	switch code {
	case "PeerFlapping": // of the last minutes
		return true
	case repeatedRepairs: // of the last minute
		return n.damages >= repairsInARow
	}
	return false
}

// reachAll has all machines reach each other, by the addresses in the mesh and on their networks. Then
// canaries go there all the time.
func (w *world) reachAll(views []view) (problems []problem) {
	var group errgroup.Group
	var mu sync.Mutex
	for i, n := range w.nodes {
		to := w.others(n)
		for j, v := range views {
			if j != i {
				to = append(to, v.mesh)
			}
		}
		group.Go(func() error {
			missing, err := n.beacon.reach(reaching, to)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			if len(missing) > 0 {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, problem{"reach", fmt.Sprintf("%s does not reach %v", n.Name, missing)})
				return nil
			}
			return n.beacon.stream(to)
		})
	}
	w.fault(group.Wait())
	return problems
}

// hearControl has a text said in clear, which the capture must hear: else it hears nothing at all.
func (w *world) hearControl() {
	if w.capture.hasHeard() {
		return
	}
	w.fault(w.nodes[0].beacon.say(w.servers[0].machine.Address, w.spoken))
	for deadline := time.Now().Add(answering); !w.capture.hasHeard(); {
		if time.Now().After(deadline) {
			w.t.Fatal("the capture does not hear what is said in clear")
		}
		<-time.After(lookPause / 10)
	}
}

// checkAlways looks at what must hold at any time.
func (w *world) checkAlways() {
	w.checkClear()
	for _, n := range w.nodes {
		select {
		case <-n.Agent.Ended():
			if n.runs {
				w.find("alive", "the agent of %s has ended:\n%s", n.Name, tail(n.Agent.Output(), 40))
			}
		default:
		}
	}
	for _, s := range w.servers {
		select {
		case <-s.process.Ended():
			if s.runs {
				w.find("alive", "the server of %s has ended:\n%s", s.machine.Name, tail(s.process.Output(), 40))
			}
		default:
		}
	}
}

// checkClear looks for canaries on the wires since the last call.
func (w *world) checkClear() {
	frames, err := w.capture.inClear()
	w.fault(err)
	if frames != "" && !w.isExposed {
		w.find("clear", "%s", frames)
	}
}

// checkLedger looks for what the server with a store has acknowledged.
func (w *world) checkLedger() []problem {
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := w.ledger.Check(w.t.Context(), ledgerCluster); err != nil {
		return []problem{{"store", err.Error()}}
	}
	return nil
}

// checkCommands runs what an operator runs, on one machine after the other.
func (w *world) checkCommands() (problems []problem) {
	n := w.nodes[w.quiet%len(w.nodes)]
	if out, ok := w.spanctl(n, "status", "--check", "ready"); !ok {
		problems = append(problems, problem{"healthy", n.Name + ": status --check ready: " + out})
	}
	if out, ok := w.spanctl(n, "diff"); !ok && (!w.isRight(n, repeatedRepairs) || !strings.Contains(out, repeatedRepairs)) {
		problems = append(problems, problem{"diff", n.Name + ": " + out})
	}
	return problems
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
