package cli

import (
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newDown(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "down",
		Short: "Take the mesh down and leave discovery",
		Long: `Remove from the kernel all that spanctl made, and tell discovery that the machine
leaves. The identity and the config stay. An agent that runs stays idle until the
next ` + "`spanctl apply --immediate` or `spanctl reload`" + `, an edit of the config file, or its
next start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			response, err := client.Down(cmd.Context(), connect.NewRequest(&agentpb.DownRequest{}))
			if err != nil {
				return fmt.Errorf("take the mesh down: %w", err)
			}
			return printDone(cmd, response.Msg.GetPlan())
		},
	})
}

func newReload(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "reload",
		Short: "Have the agent read its config file again and put it in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			response, err := client.Reload(cmd.Context(), connect.NewRequest(&agentpb.ReloadRequest{}))
			if err != nil {
				return err
			}
			return printDone(cmd, response.Msg.GetPlan())
		},
	})
}
