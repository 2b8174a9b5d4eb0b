package cli

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/schema"
)

func newApply(s *settings) *cobra.Command {
	var immediate, dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Store a machine config, and with --immediate put it in force",
		Long: `Store a machine config, byte for byte, where the agent reads it.

With --immediate the config is put in force and the changes made are printed; it
works without an agent too, for scripts, as a single pass. Without --immediate the
config waits for the agent's next start or a ` + "`spanctl reload`" + `.

With an agent, the config is stored where the agent was told to find it. Without
one, it is stored at $SPANCTL_CONFIG, or at ` + defaultConfig + `.`,
		Example: "  spanctl apply -f machine.cue --immediate\n  spanctl apply -f machine.cue --dry-run",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, source, err := s.load(cmd)
			if err != nil {
				return err
			}
			mode := agentpb.ApplyMode_APPLY_MODE_STAGED
			switch {
			case dryRun:
				mode = agentpb.ApplyMode_APPLY_MODE_DRY_RUN
			case immediate:
				mode = agentpb.ApplyMode_APPLY_MODE_IMMEDIATE
			}
			client, err := s.agent(cmd.Context())
			if errors.Is(err, errNoAgent) {
				return s.applyAlone(cmd, in, source, mode)
			}
			if err != nil {
				return err
			}
			return s.applyWith(cmd, client, source, mode)
		},
	}
	s.pickFlag(cmd)
	cmd.Flags().BoolVar(&immediate, "immediate", false, "put the config in force now")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what --immediate would change, and neither store nor change anything")
	return cmd
}

// applyWith hands a config to the agent.
func (s *settings) applyWith(cmd *cobra.Command, client agentpbconnect.AgentServiceClient, source schema.Source, mode agentpb.ApplyMode) error {
	response, err := client.Apply(cmd.Context(), connect.NewRequest(&agentpb.ApplyRequest{Config: source.Data, Filename: source.Name, Mode: mode}))
	if err != nil {
		return fmt.Errorf("apply %s: %w", source.Name, err)
	}
	return s.applied(cmd, response.Msg, source, mode, nextWithAgent)
}

// applyAlone does a single pass in this process.
func (s *settings) applyAlone(cmd *cobra.Command, in schema.Input, source schema.Source, mode agentpb.ApplyMode) error {
	once, config, err := s.alone(cmd, in)
	if err != nil {
		return err
	}
	response := &agentpb.ApplyResponse{}
	if mode != agentpb.ApplyMode_APPLY_MODE_DRY_RUN {
		if response.StoredAt, err = configfile.At(storedConfig()).Store(source.Name, source.Data); err != nil {
			return err
		}
	}
	switch mode {
	case agentpb.ApplyMode_APPLY_MODE_DRY_RUN:
		response.Plan, err = once.Diff(cmd.Context(), config)
	case agentpb.ApplyMode_APPLY_MODE_IMMEDIATE:
		response.Plan, err = once.Apply(cmd.Context(), config)
	}
	if err != nil {
		return err
	}
	return s.applied(cmd, response, source, mode, nextWithoutAgent)
}

// applied prints what an apply came to.
func (s *settings) applied(cmd *cobra.Command, response *agentpb.ApplyResponse, source schema.Source, mode agentpb.ApplyMode, next string) error {
	if path := response.GetStoredAt(); path != "" && path != source.Name {
		cmd.PrintErrf("stored at %s\n", path)
	}
	switch mode {
	case agentpb.ApplyMode_APPLY_MODE_STAGED:
		cmd.PrintErrln("not in force yet: the agent's next start or `spanctl reload` puts the config in force, `--immediate` does at once")
		return nil
	case agentpb.ApplyMode_APPLY_MODE_DRY_RUN:
		if len(response.GetPlan().GetChanges()) == 0 {
			cmd.PrintErrln("no changes")
		}
		return printPlan(cmd.OutOrStdout(), response.GetPlan().GetChanges())
	default:
		return printDone(cmd.OutOrStdout(), response.GetPlan(), next)
	}
}
