package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/schema"
)

// rollbackOptions are the flags of `spanctl rollback`.
type rollbackOptions struct{ apply applyFlags }

func newRollback(g *globals) *cobra.Command {
	o := &rollbackOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Put a config of the history in force again",
		Long: `Put a config of the history in force again, and store it where the agent reads it.
Without a number it is the one before the newest; while a config is on trial, the one
before that, which ends the trial.

With another mode than immediate, the config of the history is applied as by
` + "`spanctl apply`" + `:
` + modeHelp,
		Example: `  spanctl rollback
  spanctl rollback 3 --dry-run
  spanctl rollback 3 --mode try`,
		Args: cobra.MaximumNArgs(1),
	}, o.run)
	o.apply.flags(cmd, modeImmediate)
	cmd.ValidArgsFunction = g.completeRevision
	return cmd
}

func (o *rollbackOptions) run(ctx context.Context, s *agentSession, args []string) error {
	mode, err := o.apply.asked()
	if err != nil {
		return err
	}
	var number uint32 // 0 is the one before
	if len(args) > 0 {
		if number, err = revisionNumber(args[0]); err != nil {
			return err
		}
	}
	if mode != agentpb.ApplyMode_APPLY_MODE_IMMEDIATE {
		revision, err := s.revision(ctx, number)
		if err != nil {
			return err
		}
		return o.apply.apply(ctx, s, revision)
	}
	before := s.storedBefore(ctx)
	response, err := call(ctx, s.Rollback, &agentpb.RollbackRequest{Number: number})
	if err != nil {
		return err
	}
	if restored := response.GetRevision().GetNumber(); restored != 0 {
		s.note("back to revision", restored)
	} else {
		s.note("there was no config before")
	}
	s.noteKept(before, response.GetStoredAt())
	return printDone(s.streams, response.GetPlan())
}

// revision returns a config of the history; 0 stands for the one before the newest.
func (s *agentSession) revision(ctx context.Context, number uint32) (schema.Source, error) {
	if number == 0 {
		all, err := s.history(ctx, 0)
		if err != nil {
			return schema.Source{}, err
		}
		if len(all.GetRevisions()) < 2 {
			return schema.Source{}, errors.New("the history has no config before the newest")
		}
		number = all.GetRevisions()[1].GetNumber()
	}
	response, err := s.history(ctx, number)
	if err != nil {
		return schema.Source{}, err
	}
	r := response.GetRevisions()[0]
	// Not nil, which stands for a directory.
	return schema.Source{Name: r.GetFilename(), Data: append([]byte{}, r.GetConfig()...)}, nil
}
