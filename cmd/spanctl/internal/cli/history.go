package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
)

func newConfirm(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "confirm",
		Short: "Keep the config that is on trial",
		Long:  "End the trial that `spanctl apply --mode try` began: the config stays in force.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			_, err = call(cmd.Context(), client.Confirm, &agentpb.ConfirmRequest{})
			return err
		},
	})
}

func newHistory(s *settings) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the configs that were in force",
		Long: fmt.Sprintf(`List the last %d configs that were put in force, the newest first, and what put them
there. `+"`spanctl rollback N`"+` puts one in force again, `+"`spanctl diff --from N`"+` shows what has
changed since.`, statedir.Kept),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, outputTable, outputJSON); err != nil {
				return err
			}
			response, err := s.history(cmd, 0)
			if err != nil {
				return err
			}
			if output == outputJSON {
				text, err := jsonOf(response)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			rows := [][]string{{"REVISION", "TIME", "HOW", "FILE", "STATE"}}
			for i, r := range response.GetRevisions() {
				state := ""
				switch {
				case i == 0 && response.GetTrialUntil() != nil:
					state = "on trial until " + response.GetTrialUntil().AsTime().Local().Format(time.TimeOnly)
				case i == 0:
					state = "newest"
				}
				rows = append(rows, []string{strconv.Itoa(int(r.GetNumber())), r.GetTime().AsTime().Local().Format(time.DateTime), r.GetHow(), r.GetFilename(), state})
			}
			shown := newTable(cmd)
			return shown.print(rows...)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", outputTable, "output format: table or json")
	return aboutTable(cmd)
}

// history asks for the history. With a number, it is
// that config alone, and its text.
func (s *settings) history(cmd *cobra.Command, number int) (*agentpb.HistoryResponse, error) {
	client, err := s.agent(cmd.Context(), cmd)
	if err != nil {
		return nil, err
	}
	return call(cmd.Context(), client.History, &agentpb.HistoryRequest{Number: uint32(number)})
}

func newRollback(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Put a config of the history in force again",
		Long: `Put a config of the history in force again, and store it where the agent reads it.
Without a number it is the one before the newest; while a config is on trial, the one
before that, which ends the trial.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.completeRevision,
		RunE: func(cmd *cobra.Command, args []string) error {
			number := 0
			if len(args) > 0 {
				var err error
				if number, err = strconv.Atoi(args[0]); err != nil || number < 1 {
					return fmt.Errorf("the revision is %q: want a number that `spanctl history` shows", args[0])
				}
			}
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			response, err := call(cmd.Context(), client.Rollback, &agentpb.RollbackRequest{Number: uint32(number)})
			if err != nil {
				return err
			}
			return rolledBack(cmd, response.GetPlan(), int(response.GetRevision().GetNumber()))
		},
	})
}

func rolledBack(cmd *cobra.Command, plan *agentpb.Plan, number int) error {
	if number == 0 {
		cmd.PrintErrln("there was no config before")
	} else {
		cmd.PrintErrln("back to revision", number)
	}
	return printDone(cmd, plan)
}
