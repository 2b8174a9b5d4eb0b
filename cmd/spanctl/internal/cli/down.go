package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newDown(g *globals) *cobra.Command {
	return agentCommand(g, eachNode, &cobra.Command{
		Use:   "down",
		Short: "Take the mesh down and leave discovery",
		Long: `Remove from the kernel all that spanctl made, and take the machine out of discovery.
The identity and the config stay. A running agent stays idle until the next
` + "`spanctl apply --immediate` or `spanctl reload`" + `, an edit of the config file, or its next
start.`,
		Args: cobra.NoArgs,
	}, runDown)
}

func runDown(ctx context.Context, s *agentSession, _ []string) error {
	response, err := call(ctx, s.Down, &agentpb.DownRequest{})
	if err != nil {
		return fmt.Errorf("take the mesh down: %w", err)
	}
	return printDone(s.streams, response.GetPlan())
}
