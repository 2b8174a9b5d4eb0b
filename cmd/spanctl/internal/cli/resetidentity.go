package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newResetIdentity(g *globals) *cobra.Command {
	var yes bool
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "reset-identity",
		Short: "Make a cloned machine a machine of its own",
		Long: `Give the machine another node ID, another WireGuard key pair and, where it has no
network card, another MAC. A mesh that is up goes on with these. To its peers the
machine is a new one.

This is for the copy of a machine whose disk was cloned with its state directory. What
discovery has under the old node ID stays, because it belongs to the original. Do not
run ` + "`spanctl down`" + ` on the copy before: it would take the original out of discovery.

The command asks for --yes, since the old identity cannot be had back. Give the new
public key by hand to peers without an agent.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *agentSession, _ []string) error {
		if !yes {
			return errors.New("reset-identity replaces this machine's node ID and WireGuard key for good: " +
				"its peers will see a new machine, and peers without an agent need its new public key; give --yes to do it")
		}
		return runResetIdentity(ctx, s)
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "replace the identity, which cannot be undone")
	return cmd
}

func runResetIdentity(ctx context.Context, s *agentSession) error {
	response, err := call(ctx, s.ResetIdentity, &agentpb.ResetIdentityRequest{})
	if err != nil {
		return fmt.Errorf("reset the identity: %w", err)
	}
	for _, line := range []struct{ what, value string }{
		{"node ID before:   ", response.GetNodeIdBefore()},
		{"node ID now:      ", response.GetNodeId()},
		{"public key before:", response.GetPublicKeyBefore()},
		{"public key now:   ", response.GetPublicKey()},
	} {
		if line.value == "" {
			line.value = "none"
		}
		if err := s.say(line.what, line.value); err != nil {
			return err
		}
	}
	if response.GetPlan() == nil {
		return s.say("no mesh is up; the next one uses this identity")
	}
	return printDone(s.streams, response.GetPlan())
}
