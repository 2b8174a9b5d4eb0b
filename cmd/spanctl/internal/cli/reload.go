package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newReload(g *globals) *cobra.Command {
	return agentCommand(g, eachNode, &cobra.Command{
		Use:   "reload",
		Short: "Put the stored config in force",
		Long:  "Read the config again where the agent reads it, and put it in force. That ends the\nwait of a staged config.",
		Args:  cobra.NoArgs,
	}, runReload)
}

func runReload(ctx context.Context, s *agentSession, _ []string) error {
	response, err := call(ctx, s.Reload, &agentpb.ReloadRequest{})
	if err != nil {
		return err
	}
	return printDone(s.streams, response.GetPlan())
}
