package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// completionTimeout is how long a completion may take: somebody waits for each key.
const completionTimeout = 2 * time.Second

// completeResource completes a type of resource, then the ID of one. Those of peers come
// with the peer's name.
func (s *settings) completeResource(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	switch len(args) {
	case 0:
		for _, t := range resource.Types {
			words = append(words, t.Aliases[0])
		}
	case 1:
		response := complete(s, cmd, func(ctx context.Context) (*agentpb.ListResponse, error) {
			client, err := s.agent(ctx, cmd)
			if err != nil {
				return nil, err
			}
			return call(ctx, client.List, &agentpb.ListRequest{Type: args[0]})
		})
		for _, r := range response.GetResources() {
			label, _ := r.GetSpec().AsMap()["label"].(string)
			words = append(words, cobra.CompletionWithDesc(r.GetMetadata().GetId(), label))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeRevision completes the number of a config in the history.
func (s *settings) completeRevision(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	response := complete(s, cmd, func(context.Context) (*agentpb.HistoryResponse, error) { return s.history(cmd, 0) })
	var words []cobra.Completion
	for _, r := range response.GetRevisions() {
		words = append(words, cobra.CompletionWithDesc(strconv.Itoa(int(r.GetNumber())), r.GetHow()+" "+r.GetTime().AsTime().Local().Format(time.DateTime)))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// complete asks for what completes a word; what fails completes nothing.
func complete[R any](s *settings, cmd *cobra.Command, ask func(context.Context) (*R, error)) *R {
	s.socketSet = cmd.Flags().Changed("socket")
	if len(s.nodes) > 0 {
		s.host = s.nodes[0]
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	cmd.SetContext(ctx)
	response, err := ask(ctx)
	if err != nil {
		cobra.CompDebugln(message(err), false)
		return nil
	}
	return response
}

// completeFlags completes the flags of a command whose values are words.
func completeFlags(c *cobra.Command) {
	for _, below := range c.Commands() {
		completeFlags(below)
	}
	for name, words := range map[string][]cobra.Completion{
		"mode":       {modeAuto, modeImmediate, modeStaged, modeTry},
		"color":      {colorAuto, colorAlways, colorNever},
		"wireguard":  {"auto", "kernel", "userspace"},
		"log-level":  {"debug", "info", "warn", "error"},
		"log-format": {"text", "json"},
		"format":     {formatCUE, formatJSONSchema},
	} {
		if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
			// The flag is there, and has no completion yet.
			_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}
