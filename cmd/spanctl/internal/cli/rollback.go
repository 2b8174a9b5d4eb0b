package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newRollback(g *globals) *cobra.Command {
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Put a config of the history in force again",
		Long: `Put a config of the history in force again, and store it where the agent reads it.
Without a number it is the one before the newest; while a config is on trial, the one
before that, which ends the trial.`,
		Args: cobra.MaximumNArgs(1),
	}, runRollback)
	cmd.ValidArgsFunction = g.completeRevision
	return cmd
}

func runRollback(ctx context.Context, s *agentSession, args []string) error {
	var number uint32 // 0 is the one before
	if len(args) > 0 {
		var err error
		if number, err = revisionNumber(args[0]); err != nil {
			return err
		}
	}
	response, err := call(ctx, s.Rollback, &agentpb.RollbackRequest{Number: number})
	if err != nil {
		return err
	}
	if restored := response.GetRevision().GetNumber(); restored != 0 {
		s.note("back to revision", restored)
	} else {
		s.note("there was no config before")
	}
	return printDone(s.streams, response.GetPlan())
}
