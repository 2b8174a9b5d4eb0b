package chaos

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// action is what a step does to a machine.
type action struct {
	// weight is how often the action is drawn, beside others.
	weight int
	// layers are the defences against packets in clear that it takes from the kernel. Another one still
	// holds: whatever is deleted alone, nothing leaves in clear.
	layers []string
	// exposes is set where the operator's will is that packets leave in clear, or where the others
	// cannot know an address yet.
	exposes bool
	// restarts is set where the WireGuard process of the machine may have to start again.
	restarts bool
	do       func(w *world, n *node, argument int)
}

// The defences against packets in clear.
const (
	theLink   = "link"
	theRoutes = "routes"
	theRules  = "rules"
	theTable  = "table"
	theGuard  = "guard"
)

// actions are all actions by name.
var actions = collect(processActions, helperActions, serverActions, kernelActions, networkActions, lanActions, configActions, trialActions, stateActions,
	programActions, operatorActions)

func collect(sets ...map[string]action) map[string]action {
	all := map[string]action{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

// known returns an action by its name, also one that no walk is drawn from.
func known(name string) (a action, ok bool) {
	if a, ok = actions[name]; !ok {
		a, ok = plantedActions[name]
	}
	return a, ok
}

// drawn returns the names that walks are drawn from: each as often as its action's weight.
func drawn() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		names = append(names, slices.Repeat([]string{name}, actions[name].weight)...)
	}
	return names
}

// processActions are those on the processes of a machine.
var processActions = map[string]action{
	"kill-agent": {weight: 3, do: func(w *world, n *node, _ int) { w.endAgent(n, unix.SIGKILL) }},
	"stop-agent": {weight: 2, do: func(w *world, n *node, _ int) { w.endAgent(n, unix.SIGTERM) }},
	"restart-agent": {weight: 2, do: func(w *world, n *node, _ int) {
		w.endAgent(n, unix.SIGTERM)
		w.startAgent(n)
	}},
	"pause-agent": {weight: 2, do: func(w *world, n *node, _ int) {
		if !n.runs {
			return
		}
		w.fault(unix.Kill(n.Agent.PID(), unix.SIGSTOP))
		n.paused = true
		w.onHeal(resumed, "agent of "+n.Name, func() { w.resumeAgent(n) })
	}},
	"kill-wireguard": {weight: 3, layers: []string{theLink}, restarts: true, do: func(w *world, n *node, _ int) { w.try(n.Machine, "kill-wireguard") }},
	"pause-wireguard": {weight: 2, restarts: true, do: func(w *world, n *node, _ int) {
		w.try(n.Machine, "signal-wireguard", "SIGSTOP")
		w.onHeal(resumed, "WireGuard of "+n.Name, func() { w.try(n.Machine, "signal-wireguard", "SIGCONT") })
	}},
}

// helperActions are those on the processes of the relays that machines are and use.
var helperActions = map[string]action{
	"kill-relay": {weight: 1, do: func(w *world, _ *node, _ int) {
		w.try(w.nodes[offers].Machine, "signal-command", "relay-process", "SIGKILL")
	}},
	"kill-tunnels": {weight: 1, do: func(w *world, _ *node, _ int) {
		w.try(w.nodes[machines-1].Machine, "signal-command", "tunnel-process", "SIGKILL")
	}},
}

// endAgent ends an agent that runs, until faults are healed.
func (w *world) endAgent(n *node, signal unix.Signal) {
	if !n.runs {
		return
	}
	w.resumeAgent(n)
	n.runs = false
	w.end(n.Agent.Process, signal)
	w.onHeal(restarted, "agent of "+n.Name, func() { w.startAgent(n) })
}

func (w *world) resumeAgent(n *node) {
	if n.paused {
		w.fault(unix.Kill(n.Agent.PID(), unix.SIGCONT))
		n.paused = false
	}
}

// serverActions are those on a discovery server. The machine's number chooses which.
var serverActions = map[string]action{
	"kill-server": {weight: 2, do: func(w *world, n *node, argument int) { w.endServer(w.serverOf(argument), unix.SIGKILL) }},
	"stop-server": {weight: 1, do: func(w *world, n *node, argument int) { w.endServer(w.serverOf(argument), unix.SIGTERM) }},
	"restart-server": {weight: 2, do: func(w *world, n *node, argument int) {
		s := w.serverOf(argument)
		w.endServer(s, unix.SIGTERM)
		w.startServer(s)
	}},
	"pause-server": {weight: 1, do: func(w *world, n *node, argument int) {
		s := w.serverOf(argument)
		if !s.runs {
			return
		}
		w.fault(unix.Kill(s.process.PID(), unix.SIGSTOP))
		s.paused = true
		w.onHeal(resumed, "server of "+s.machine.Name, func() { w.resumeServer(s) })
	}},
	"empty-store": {weight: 1, do: func(w *world, n *node, argument int) {
		s := w.serverOf(argument)
		if s.store != "" && w.isFull {
			return // it would not start
		}
		w.endServer(s, unix.SIGKILL)
		if s.store != "" {
			w.writing.Lock()
			w.ledger.Forget(ledgerCluster)
			w.command(s.machine, "rm", "-f", s.store)
			w.writing.Unlock()
		}
		w.startServer(s)
	}},
	"fill-store": {weight: 1, do: func(w *world, n *node, _ int) {
		w.isFull = true
		w.fill(w.servers[1].machine, w.serverDisk())
	}},
}

// serverOf chooses a server by an argument.
func (w *world) serverOf(argument int) *server { return w.servers[argument%len(w.servers)] }

// endServer ends a server that runs, until faults are healed.
func (w *world) endServer(s *server, signal unix.Signal) {
	if !s.runs {
		return
	}
	w.resumeServer(s)
	s.runs = false
	w.end(s.process, signal)
	w.onHeal(restarted, "server of "+s.machine.Name, func() { w.startServer(s) })
}

func (w *world) resumeServer(s *server) {
	if s.paused {
		w.fault(unix.Kill(s.process.PID(), unix.SIGCONT))
		s.paused = false
	}
}
