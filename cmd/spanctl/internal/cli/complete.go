package cli

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// completionTimeout is how long a completion may take: a user waits for it.
const completionTimeout = 2 * time.Second

// completeResource completes a type of resource, then the name of one, or its ID where it has none
// or an ID was begun.
func (g *globals) completeResource(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	switch len(args) {
	case 0:
		for _, t := range resource.Types {
			words = append(words, t.Aliases[0])
		}
	case 1:
		response := complete(g, cmd, func(ctx context.Context, s *agentSession) (*agentpb.ListResponse, error) {
			return call(ctx, s.List, &agentpb.ListRequest{Type: args[0]})
		})
		for _, r := range response.GetResources() {
			name, id := r.GetName(), r.GetMetadata().GetId()
			if name == "" || name == id || begun != "" && strings.HasPrefix(id, begun) {
				name, id = id, name
			}
			words = append(words, cobra.CompletionWithDesc(plain(name), plain(id)))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeRevision completes the number of a config in the history.
func (g *globals) completeRevision(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	response := complete(g, cmd, func(ctx context.Context, s *agentSession) (*agentpb.HistoryResponse, error) { return s.history(ctx, 0) })
	var words []cobra.Completion
	for _, r := range response.GetRevisions() {
		words = append(words, cobra.CompletionWithDesc(strconv.FormatUint(uint64(r.GetNumber()), 10), plain(r.GetHow())+" "+r.GetTime().AsTime().Local().Format(time.DateTime)))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// complete asks for the words that complete an argument. After an error there are none.
func complete[R any](g *globals, cmd *cobra.Command, ask func(context.Context, *agentSession) (*R, error)) *R {
	if len(g.nodes) > 0 {
		g.host = g.nodes[0]
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	session, end := g.newSession(cmd)
	response, err := ask(ctx, session)
	if err := errors.Join(err, end()); err != nil {
		cobra.CompDebugln(err.Error(), false)
		return nil
	}
	return response
}

// completeFlags completes the flags of a command whose values are words.
func completeFlags(c *cobra.Command) {
	for _, below := range c.Commands() {
		completeFlags(below)
	}
	words := map[string][]cobra.Completion{
		"mode":       {modeAuto, modeImmediate, modeStaged, modeTry},
		"color":      {colorAuto, colorAlways, colorNever},
		"wireguard":  {"auto", "kernel", "userspace"},
		"log-level":  {"debug", "info", "warn", "error"},
		"log-format": {"text", "json"},
		"format":     {"cue", "yaml", "json"},
	}
	if c.Name() == "schema" {
		words["format"] = []cobra.Completion{formatCUE, formatJSONSchema}
	}
	for name, words := range words {
		if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
			// The flag is there, and has no completion yet.
			_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// completePeer completes the name of a peer, which comes with its address in the mesh.
func (g *globals) completePeer(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	response := complete(g, cmd, func(ctx context.Context, s *agentSession) (*agentpb.ListResponse, error) {
		return call(ctx, s.List, &agentpb.ListRequest{Type: resource.PeerSpecs.Aliases[0]})
	})
	var words []cobra.Completion
	for _, r := range response.GetResources() {
		spec := r.GetSpec().AsMap()
		label, _ := spec["label"].(string)
		address, _ := spec["address"].(string)
		words = append(words, cobra.CompletionWithDesc(plain(label), plain(address)))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
