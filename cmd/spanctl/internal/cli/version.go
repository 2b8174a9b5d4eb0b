package cli

import (
	"context"
	"fmt"
	"runtime"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
)

func newVersion(g *globals) *cobra.Command {
	return agentCommand(g, eachNode, &cobra.Command{
		Use:   "version",
		Short: "Print the version of spanctl, and of the agent if one runs",
		Args:  cobra.NoArgs,
	}, runVersion)
}

func runVersion(ctx context.Context, s *agentSession, _ []string) error {
	if err := s.say(fmt.Sprintf("spanctl %s, commit %s, %s, %s/%s",
		version.Version, version.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)); err != nil {
		return err
	}
	response, err := call(ctx, s.GetStatus, &agentpb.GetStatusRequest{})
	switch {
	case connect.CodeOf(err) == connect.CodeFailedPrecondition: // no agent runs
		return nil
	case err != nil && s.host == "":
		// Users other than root may ask for the version of the program.
		s.note("the agent's version is not known:", err)
		return nil
	case err != nil:
		return fmt.Errorf("ask the agent: %w", err)
	}
	return s.say(fmt.Sprintf("agent   %s, commit %s", response.GetVersion(), response.GetCommit()))
}
