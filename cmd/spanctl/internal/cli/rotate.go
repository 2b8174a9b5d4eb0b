package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newRotateKey(g *globals) *cobra.Command {
	return agentCommand(g, eachNode, &cobra.Command{
		Use:   "rotate-key",
		Short: "Give the machine another WireGuard key pair",
		Long: `Make another WireGuard key pair, announce its public half through discovery, and
use it from then on. The peers follow as soon as discovery has it; each tunnel is down
for as long as a handshake takes. They drop the old key: a stolen copy is useless. If
discovery cannot be reached, nothing is changed: the peers would refuse the machine.

Give the new public key by hand to peers without an agent.`,
		Args: cobra.NoArgs,
	}, runRotateKey)
}

func runRotateKey(ctx context.Context, s *agentSession, _ []string) error {
	response, err := call(ctx, s.RotateKey, &agentpb.RotateKeyRequest{})
	if err != nil {
		return fmt.Errorf("rotate the key: %w", err)
	}
	if err := s.say("public key before:", response.GetPublicKeyBefore()); err != nil {
		return err
	}
	if err := s.say("public key now:   ", response.GetPublicKey()); err != nil {
		return err
	}
	return printDone(s.streams, response.GetPlan())
}
