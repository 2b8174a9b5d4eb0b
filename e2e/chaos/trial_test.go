package chaos

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
)

const (
	// onTrial is the code of the condition of a config that is on trial.
	onTrial = "ConfigOnTrial"
	// returning is how long a config is on trial that is left to return, confirming one that is confirmed.
	returning, confirming = "1500ms", "10s"
)

// trialActions try configs.
var trialActions = map[string]action{
	// Half of the trials are confirmed, the others left to return.
	"try-config": {weight: 3, do: func(w *world, n *node, argument int) {
		setting := settings[argument/2%len(settings)]
		n.restarts = n.restarts || setting == otherName
		w.tryConfig(n, harness.Edit(n.config, setting), argument%2 == 0)
	}},
	"try-disabled": {weight: 1, exposes: true, restarts: true, do: func(w *world, n *node, _ int) {
		w.tryConfig(n, harness.Disabled(n.config), false)
	}},
}

// tryConfig puts a config in force on trial, unless the agent does not answer.
func (w *world) tryConfig(n *node, config string, confirm bool) {
	if n.paused {
		return
	}
	w.onHeal(tried, "trial of "+n.Name, func() { w.endTrial(n) })
	confirm = confirm && n.runs // without an agent, the command goes on until the trial's end
	limit := returning
	if confirm {
		limit = confirming
	}
	_, ok := w.spanctl(n, "apply", "-f", n.Files.Write("trial.cue", config), "--mode", "try", "--timeout", limit)
	if !ok || !confirm {
		return
	}
	if _, ok := w.spanctl(n, "confirm"); !ok {
		return
	}
	w.restoreConfig(n)
	if got := n.Files.Config(); got != config {
		w.find("trial", "%s: the config that was confirmed is not in the file, but\n%s", n.Name, got)
	}
}

// endTrial waits until no config is on trial. Where nothing else was wrong, the one before is in the file
// then; else it is put there.
func (w *world) endTrial(n *node) {
	for deadline := time.Now().Add(healing); w.isOnTrial(n); {
		if time.Now().After(deadline) {
			w.find("trial", "%s: the trial has not ended after %v", n.Name, healing)
		}
		<-time.After(lookPause)
	}
	got := n.Files.Config()
	switch {
	case got == n.config:
		return
	case w.faults == 1:
		w.find("trial", "%s: the config before the trial is not in the file, but\n%s", n.Name, got)
	}
	w.note("  the config of %s is restored after the trial", n.Name)
	n.Files.WriteConfig(n.config)
}

// isOnTrial reports whether a config is on trial, as far as the agent answers.
func (w *world) isOnTrial(n *node) bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), answering)
	defer cancel()
	health, err := n.client().GetHealth(ctx, connect.NewRequest(&agentpb.GetHealthRequest{}))
	if err != nil {
		w.note("  health of %s: %v", n.Name, err)
		return true
	}
	for _, c := range health.Msg.GetConditions() {
		if c.GetCode() == onTrial {
			return true
		}
	}
	return false
}
