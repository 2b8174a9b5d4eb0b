package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/reconciler/retry"
)

func newDiscoveryRemove(g *globals) *cobra.Command {
	o := &discoveryOptions{globals: g}
	var force bool
	cmd := &cobra.Command{
		Use:   "rm NODE...",
		Short: "Remove affiliates of a cluster, such as those of machines that are gone",
		Long: `Remove affiliates from the discovery of a machine config's cluster. NODE is a node ID,
or the name of a machine that ` + "`spanctl discovery list`" + ` shows. Nothing is removed if one
of them is not there.

The command waits for the machines to return: one that is alive publishes itself again
within seconds, and its peers keep it meanwhile. It is left as it was, and the exit
status is 1. Talos nodes and earlier versions of spanctl return after minutes only, so
for them the command wants --force, as for machines that are known to be alive. --force
does not wait.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			s := streamsOf(cmd)
			inspection, err := o.inspect(cmd.Context(), s)
			if err != nil {
				return err
			}
			return removal{inspection, s, force}.run(cmd.Context(), names)
		},
	}
	o.input.sourceFlags(cmd, storedConfig())
	cmd.Flags().BoolVar(&force, "force", false, "remove machines that are alive, too")
	return cmd
}

// removal removes affiliates from discovery.
type removal struct {
	discovery interface {
		// Affiliates returns what discovery has, by node ID.
		Affiliates(ctx context.Context) (map[string]agent.Found, error)
		// Remove removes an affiliate. One that is not there is no error.
		Remove(ctx context.Context, id string) error
	}
	streams
	force bool
}

const (
	// returnTime is how long a machine that is alive may take to publish itself again. It does
	// so within two seconds.
	returnTime = 5 * time.Second
	// returnCheck is the time between two looks at whether it has.
	returnCheck = time.Second
)

// run removes the affiliates with IDs or names, all of which must be there.
func (r removal) run(ctx context.Context, names []string) error {
	all, err := r.discovery.Affiliates(ctx)
	if err != nil {
		return err
	}
	found, err := findAffiliates(all, names)
	if err != nil {
		return err
	}
	if !r.force {
		if err := refuseUnseen(found); err != nil {
			return err
		}
	}
	var failure error
	for i, a := range found {
		if failure = r.discovery.Remove(ctx, a.NodeID); failure != nil {
			found = found[:i]
			break
		}
	}
	returned := map[string]bool{}
	if !r.force {
		returned, err = r.returned(ctx, found)
	}
	failure = errors.Join(failure, err)
	for _, a := range found {
		if returned[a.NodeID] {
			failure = errors.Join(failure, fmt.Errorf("%s is alive, it has published itself again: stop it there with `spanctl down`, "+
				"or give --force to remove what it publishes now", displayName(a)))
			continue
		}
		failure = errors.Join(failure, r.say("removed", displayName(a)))
	}
	return failure
}

// findAffiliates returns the affiliates with IDs or names, each once.
func findAffiliates(all map[string]agent.Found, names []string) (found []agent.Found, err error) {
	for _, name := range names {
		a, findErr := findAffiliate(all, name)
		if findErr != nil {
			err = errors.Join(err, findErr)
			continue
		}
		if !slices.ContainsFunc(found, func(b agent.Found) bool { return b.NodeID == a.NodeID }) {
			found = append(found, a)
		}
	}
	return found, err
}

// findAffiliate returns the affiliate with an ID, as it is or as it is printed, or else the
// one of the machine with a name.
func findAffiliate(all map[string]agent.Found, name string) (agent.Found, error) {
	if a, ok := all[name]; ok {
		return a, nil
	}
	var found []agent.Found
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if a := all[id]; name != "" && (plain(id) == name || a.Hostname == name || a.Nodename == name) {
			found, ids = append(found, a), append(ids, id)
		}
	}
	switch len(found) {
	case 0:
		return agent.Found{}, fmt.Errorf("no affiliate has the ID or the name %q: `spanctl discovery list` shows all", name)
	case 1:
		return found[0], nil
	default:
		return agent.Found{}, fmt.Errorf("%d machines have the name %q: give one of the IDs %s", len(found), name, strings.Join(ids, ", "))
	}
}

// refuseUnseen returns an error for machines of which cannot be seen whether they are alive: they
// publish themselves again only after half of their TTL.
func refuseUnseen(found []agent.Found) error {
	var err error
	for _, a := range found {
		if a.Returns || a.Refused != "" {
			continue
		}
		kind := "with a version of spanctl that does not notice"
		if strings.HasPrefix(a.OperatingSystem, "Talos") {
			kind = "as a Talos node"
		}
		err = errors.Join(err, fmt.Errorf("%s may be alive, and %s it would be missing for up to 15 minutes: "+
			"give --force to remove it all the same", displayName(a), kind))
	}
	return err
}

// returned waits for removed machines to publish themselves again, and returns the IDs of those
// that did. An affiliate that was made without the cluster's secret is none of a machine.
func (r removal) returned(ctx context.Context, removed []agent.Found) (map[string]bool, error) {
	returned := map[string]bool{}
	removed = slices.DeleteFunc(slices.Clone(removed), func(a agent.Found) bool { return a.Refused != "" })
	for deadline := time.Now().Add(returnTime); len(returned) < len(removed) && time.Now().Before(deadline); {
		err := retry.Wait(ctx, returnCheck, nil)
		if err != nil {
			return returned, err
		}
		now, err := r.discovery.Affiliates(ctx)
		if err != nil {
			return returned, fmt.Errorf("see whether the machines return: %w", err)
		}
		for _, a := range removed {
			if again, there := now[a.NodeID]; there && again.Refused == "" {
				returned[a.NodeID] = true
			}
		}
	}
	return returned, nil
}

// displayName returns a machine's name and node ID.
func displayName(a agent.Found) string {
	if a.Hostname == "" {
		return a.NodeID
	}
	return a.Hostname + " (" + a.NodeID + ")"
}
