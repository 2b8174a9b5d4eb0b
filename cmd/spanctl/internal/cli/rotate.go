package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newRotateKey(g *globals) *cobra.Command {
	request := &agentpb.RotateKeyRequest{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "rotate-key",
		Short: "Give the machine another WireGuard key pair",
		Long: `Make another WireGuard key pair, store it, announce its public half through discovery, and
use it from then on. The peers follow as soon as discovery has it; each tunnel is down
for as long as a handshake takes. They drop the old key: a stolen copy is useless.

Nothing is changed where the new key cannot be stored, or where no registry takes it: the
peers would refuse the machine. --force changes it all the same, such as for a key that was
stolen while discovery is away, or where all peers are static. A registry that does not take
it, while another does, is a warning.

Give the new public key by hand to peers without an agent, which the command names.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, s *agentSession, _ []string) error { return runRotateKey(ctx, s, request) })
	cmd.Flags().BoolVar(&request.Force, "force", false, "change the key even if no registry takes it")
	return cmd
}

func runRotateKey(ctx context.Context, s *agentSession, request *agentpb.RotateKeyRequest) error {
	response, err := call(ctx, s.RotateKey, request)
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
