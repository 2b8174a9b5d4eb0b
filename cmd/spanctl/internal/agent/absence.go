package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/state"
)

// leftLink is the link of a mesh that no agent looks after.
type leftLink struct {
	name string
	// peers is their number; -1 where WireGuard does not say.
	peers int
}

// Health implements healthReader: it says that no agent runs, and what there is without one.
func (o *oneShot) Health(ctx context.Context) *agentpb.GetHealthResponse {
	left, err := o.leftLinks(ctx)
	h := NoAnswer(noAgent(o.machine.Socket, left, err, HasUnit("/")))
	h.Hostname = hostname("")
	return h
}

// NoAnswer returns the health of a machine where no agent answers, with the condition that says why.
func NoAnswer(c condition.Condition) *agentpb.GetHealthResponse {
	shown := healthCondition(health.Condition{Condition: c})
	shown.Since = nil // nobody knows
	return &agentpb.GetHealthResponse{ApiVersion: APIVersion, State: StateNoAgent, Time: timestamppb.Now(), Conditions: []*agentpb.Condition{shown}}
}

// noAgent is the condition of a machine where no agent answers at a socket, by the links that are
// there, or why they cannot be read, and whether systemd has a unit of the agent.
func noAgent(socket string, left []leftLink, fault error, unit bool) condition.Condition {
	c := condition.Condition{Code: condition.NoAgent, Cause: "nobody answers at " + socket, Remedy: startRemedy(unit)}
	var links []string
	for _, l := range left {
		text := "the link " + l.name
		switch {
		case l.peers == 1:
			text += " with 1 peer"
		case l.peers >= 0:
			text += fmt.Sprintf(" with %d peers", l.peers)
		}
		links = append(links, text)
	}
	switch {
	case len(links) > 0:
		verb := "is left as it is"
		if len(links) > 1 {
			verb = "are left as they are"
		}
		c.Cause += "; " + strings.Join(links, " and ") + " " + verb
	case errors.Is(fault, unix.EPERM):
		c.Cause += "; whether there is a mesh is for root to see"
	case fault != nil:
		c.Cause += "; whether there is a mesh cannot be read: " + fault.Error()
	default:
		c.Cause += "; there is no mesh"
	}
	return c
}

// StartRemedy says how an agent is started on this machine.
func StartRemedy() string { return startRemedy(HasUnit("/")) }

func startRemedy(unit bool) string {
	if unit {
		return "`systemctl start spanctl`"
	}
	return "`spanctl run`"
}

// leftLinks finds the links of this state directory's meshes.
func (o *oneShot) leftLinks(ctx context.Context) ([]leftLink, error) {
	kernel, err := netlinkapply.Open(o.machine.Wireguard, nil)
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	if kernel.Owner, err = filepath.Abs(o.machine.StateDir); err != nil {
		return nil, err
	}
	var config *state.Scope
	if name, data, _, err := o.inForce(); err == nil {
		if loaded, err := o.eval.loadUnread(ctx, name, data); err == nil {
			config = scopeOf(loaded)
		}
	}
	d := &deps{dir: o.dir, kernel: kernel}
	scopes, _, err := d.toRemove(config, "")
	if err != nil {
		return nil, err
	}
	var left []leftLink
	for _, scope := range scopes {
		_, peers, err := kernel.Device(scope)
		switch {
		case err == nil:
			left = append(left, leftLink{scope.LinkName, machinesAmong(peers)})
		case !errors.Is(err, unix.ENODEV):
			left = append(left, leftLink{scope.LinkName, -1})
		}
	}
	return left, nil
}

// machinesAmong returns how many of WireGuard's peers are machines: others are relays.
func machinesAmong(peers []state.Peer) (n int) {
	for i := range peers {
		if peers[i].IsMachine() {
			n++
		}
	}
	return n
}

// HasUnit reports whether systemd runs the machine whose root directory is given, and has a unit of
// the agent (sd_booted(3), systemd.unit(5)).
func HasUnit(root string) bool {
	if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
		return false
	}
	return slices.ContainsFunc([]string{"etc", "run", "usr/local/lib", "usr/lib", "lib"}, func(dir string) bool {
		_, err := os.Stat(filepath.Join(root, dir, "systemd/system/spanctl.service"))
		return err == nil
	})
}
