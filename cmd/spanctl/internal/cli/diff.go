package cli

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newDiff(s *settings) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "diff [-f FILE]",
		Short: "Show what differs between the kernel and a config, and change nothing",
		Long: `Show what the next pass would change in the kernel: '+' is made, '~' is changed,
'-' is removed. With -f it is the plan for that config, else for the one in force.

The exit status is 0 if there is no difference, 1 if there is one, more if that
cannot be told.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := s.diff(cmd, output)
			if err != nil {
				return statusError{err, exitDiffError}
			}
			if len(plan.GetChanges()) > 0 {
				return exitStatus(exitDifferences)
			}
			return nil
		},
	}
	s.pickFlag(cmd)
	s.patchFlag(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", outputText, "output format: text or json")
	return cmd
}

func (s *settings) diff(cmd *cobra.Command, output string) (*agentpb.Plan, error) {
	if err := oneOf("output", output, outputText, outputJSON); err != nil {
		return nil, err
	}
	plan, err := s.plan(cmd)
	if err != nil {
		return nil, err
	}
	if output == outputText {
		return plan, printPlan(cmd.OutOrStdout(), plan.GetChanges())
	}
	text, err := jsonOf(plan)
	if err != nil {
		return nil, err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return plan, err
}

// plan asks the agent, or without one reads the kernel itself.
func (s *settings) plan(cmd *cobra.Command) (*agentpb.Plan, error) {
	client, err := s.agent(cmd.Context())
	if errors.Is(err, errNoAgent) {
		in, _, err := s.load(cmd)
		if err != nil {
			return nil, err
		}
		once, config, err := s.alone(cmd, in)
		if err != nil {
			return nil, err
		}
		return once.Diff(cmd.Context(), config)
	}
	if err != nil {
		return nil, err
	}
	request := &agentpb.DiffRequest{}
	if cmd.Flags().Changed("config") {
		_, source, err := s.load(cmd)
		if err != nil {
			return nil, err
		}
		request.Config, request.Filename = source.Data, source.Name
	}
	response, err := client.Diff(cmd.Context(), connect.NewRequest(request))
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if fault := response.Msg.GetConfigError(); fault != "" && request.Config == nil {
		cmd.PrintErrf("this is about the config in force, not the config file:\n%s\n", fault)
	}
	return response.Msg.GetPlan(), nil
}
