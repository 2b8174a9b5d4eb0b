package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
)

func newDiscovery(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "discovery", Short: "Serve discovery, and look into it"}
	cmd.AddCommand(newServe(g), newDiscoveryList(g), newDiscoveryWatch(g), newDiscoveryRemove(g),
		newDiscoveryCheck(g), newDiscoveryBackup(g), newDiscoveryRestore(g))
	return cmd
}

// discoveryOptions are the flags of commands that look into the discovery of a config.
type discoveryOptions struct {
	*globals
	input  configInput
	output string
}

// inspect prepares to look into the discovery of the config that the flags name.
func (o *discoveryOptions) inspect(ctx context.Context, s streams) (*agent.Inspection, error) {
	in, err := o.input.read(ctx, s)
	if err != nil {
		return nil, err
	}
	in.ReadSecret = agent.ReadSecret
	result, err := evaluated(ctx, s, evaluate.Request{Input: in})
	if err != nil {
		return nil, err
	}
	config := result.Config
	if !config.Cluster.Discovery.Enabled {
		return nil, errors.New("discovery is not enabled in " + o.input.names())
	}
	if config.Cluster.Discovery.Registries.Service.Disabled {
		return nil, errors.New("no discovery service is asked by " + o.input.names() + ": `spanctl get affiliates` shows what an agent knows by its other registries")
	}
	log, err := o.logger(s.err)
	if err != nil {
		return nil, err
	}
	return agent.Inspect(config, log)
}

// open checks the output format and prepares to print.
func (o *discoveryOptions) open(ctx context.Context, s streams, watch bool) (*agent.Inspection, *printer, error) {
	f, err := parseFormat(o.output)
	if err != nil {
		return nil, nil, err
	}
	inspection, err := o.inspect(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	p := &printer{out: s.out, format: f, watch: watch, table: table{out: s.out}}
	p.head(inspection.Table())
	return inspection, p, nil
}

func newDiscoveryList(g *globals) *cobra.Command {
	o := &discoveryOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the affiliates that discovery has of a cluster",
		Long: `List the affiliates that discovery has of the cluster of a machine config, which
has the keys to read them. -o yaml shows the whole of each, and why one is refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.list(cmd.Context(), streamsOf(cmd)) },
	}
	o.input.sourceFlags(cmd, storedConfig())
	outputFlag(cmd, &o.output)
	return cmd
}

func (o *discoveryOptions) list(ctx context.Context, s streams) error {
	inspection, p, err := o.open(ctx, s, false)
	if err != nil {
		return err
	}
	resources, err := inspection.List(ctx)
	if err != nil {
		return err
	}
	return p.list(resources, false)
}

func newDiscoveryWatch(g *globals) *cobra.Command {
	o := &discoveryOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show the affiliates of a cluster, and their changes as they come",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.watch(cmd.Context(), streamsOf(cmd)) },
	}
	o.input.sourceFlags(cmd, storedConfig())
	outputFlag(cmd, &o.output)
	return cmd
}

func (o *discoveryOptions) watch(ctx context.Context, s streams) error {
	inspection, p, err := o.open(ctx, s, true)
	if err != nil {
		return err
	}
	return inspection.Watch(ctx, func(events []*agentpb.Event) error { return p.events(events) })
}
