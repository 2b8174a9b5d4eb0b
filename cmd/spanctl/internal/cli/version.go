package cli

import (
	"fmt"
	"runtime"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
)

func newVersion(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "version",
		Short: "Print the version of spanctl, and of the agent if one runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if _, err := fmt.Fprintf(out, "spanctl %s, commit %s, %s, %s/%s\n",
				version.Version, version.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH); err != nil {
				return err
			}
			client, err := s.agent(cmd.Context(), cmd)
			if _, alone := client.(aloneClient); alone {
				return nil
			}
			if err != nil {
				// Others than root may ask for the version of the program.
				cmd.PrintErrln("the agent's version is not known:", message(err))
				return nil
			}
			response, err := client.GetStatus(cmd.Context(), connect.NewRequest(&agentpb.GetStatusRequest{}))
			if err != nil {
				return fmt.Errorf("ask the agent: %w", err)
			}
			_, err = fmt.Fprintf(out, "agent   %s, commit %s\n", response.Msg.GetVersion(), response.Msg.GetCommit())
			return err
		},
	})
}
