package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newDown(g *globals) *cobra.Command {
	request := &agentpb.DownRequest{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "down",
		Short: "Take the mesh down and leave discovery",
		Long: `Remove from the kernel all that spanctl made, and take the machine out of discovery.
The identity and the config stay. A running agent stays idle until the next
` + "`spanctl apply --immediate` or `spanctl reload`" + `, an edit of the config file, or its next
start. A trial ends: the config before it is stored again, and the mesh stays down.

The config is not needed: a mesh is found by the state directory that is written on its link,
or by the key. Without a config discovery cannot be left, which is a warning: the other machines
keep this one until it expires there. The meshes of other state directories stay; --link takes
down the mesh of a link, whosever it is.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *agentSession, _ []string) error { return runDown(ctx, s, request) })
	cmd.Flags().StringVar(&request.Link, "link", "", "take down the mesh of this link alone")
	return cmd
}

func runDown(ctx context.Context, s *agentSession, request *agentpb.DownRequest) error {
	response, err := call(ctx, s.Down, request)
	if err != nil {
		return fmt.Errorf("take the mesh down: %w", err)
	}
	if plan := response.GetPlan(); len(plan.GetChanges()) == 0 && plan.GetFailure() == nil {
		for _, warning := range plan.GetWarnings() {
			s.note("warning:", plain(warning))
		}
		return s.say("nothing to take down")
	}
	return printDone(s.streams, response.GetPlan())
}
