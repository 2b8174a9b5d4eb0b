package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

// inspect prepares to look into the discovery of the config that the flags name.
func (s *settings) inspect(cmd *cobra.Command) (*agent.Inspection, error) {
	in, err := s.input(cmd)
	if err != nil {
		return nil, err
	}
	in.ReadSecret = agent.ReadSecret
	config, err := in.Load()
	if err != nil {
		return nil, err
	}
	if !config.Cluster.Discovery.Enabled {
		return nil, errors.New("discovery is not enabled in " + strings.Join(s.configs, ", "))
	}
	if config.Cluster.Discovery.Registries.Service.Disabled {
		return nil, errors.New("no discovery service is asked by " + strings.Join(s.configs, ", ") + ": `spanctl get affiliates` shows what an agent knows by its other registries")
	}
	log, err := s.logger(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	return agent.Inspect(config, log)
}

func newDiscoveryList(s *settings) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the affiliates that discovery has of a cluster",
		Long: `List the affiliates that discovery has of the cluster of a machine config, which
has the keys to read them. -o yaml shows the whole of each, and why one is refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, outputTable, outputYAML, outputJSON); err != nil {
				return err
			}
			i, err := s.inspect(cmd)
			if err != nil {
				return err
			}
			events, err := i.List(cmd.Context())
			if err != nil {
				return err
			}
			p := &printer{out: cmd.OutOrStdout(), output: output, table: table{out: cmd.OutOrStdout()}}
			p.head(i.Table())
			return p.events(events)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", outputTable, "output format: table, yaml or json")
	return cmd
}

func newDiscoveryWatch(s *settings) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the affiliates of a cluster, and their changes as they come",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, outputTable, outputYAML, outputJSON); err != nil {
				return err
			}
			i, err := s.inspect(cmd)
			if err != nil {
				return err
			}
			p := &printer{out: cmd.OutOrStdout(), output: output, watch: true, table: table{out: cmd.OutOrStdout()}}
			p.head(i.Table())
			return i.Watch(cmd.Context(), func(events []*agentpb.Event) error { return p.events(events) })
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", outputTable, "output format: table, yaml or json")
	return cmd
}

func newDiscoveryRemove(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NODE-ID...",
		Short: "Remove affiliates of a cluster, such as those of machines that are no more",
		Long: `Remove affiliates from the discovery of a machine config's cluster. A machine that
is alive comes back with its next refresh.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			i, err := s.inspect(cmd)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := i.Remove(cmd.Context(), id); err != nil {
					return fmt.Errorf("%s: %w", id, err)
				}
				cmd.Println("removed", id)
			}
			return nil
		},
	}
}
