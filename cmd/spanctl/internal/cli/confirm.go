package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newConfirm(g *globals) *cobra.Command {
	return agentCommand(g, eachNode, &cobra.Command{
		Use:   "confirm",
		Short: "Keep the config that is on trial",
		Long:  "End the trial that `spanctl apply --mode try` began: the config stays in force.",
		Args:  cobra.NoArgs,
	}, runConfirm)
}

func runConfirm(ctx context.Context, s *agentSession, _ []string) error {
	_, err := call(ctx, s.Confirm, &agentpb.ConfirmRequest{})
	return err
}
