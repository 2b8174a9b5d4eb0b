package cli

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newRotateKey(s *settings) *cobra.Command {
	return about(&cobra.Command{
		Use:   "rotate-key",
		Short: "Give the machine another WireGuard key pair",
		Long: `Make another WireGuard key pair, announce its public half through discovery, and
use it from then on. The peers follow by themselves, as soon as discovery tells
them; each tunnel is down for as long as a handshake takes. They forget the old
key, so that whoever got hold of it has nothing. Without discovery nothing is
changed, since nobody would know the machine any more.

Peers that run no agent have to be given the new public key by hand.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			response, err := client.RotateKey(cmd.Context(), connect.NewRequest(&agentpb.RotateKeyRequest{}))
			if err != nil {
				return fmt.Errorf("rotate the key: %w", err)
			}
			return printRotation(cmd, response.Msg)
		},
	})
}

func printRotation(cmd *cobra.Command, r *agentpb.RotateKeyResponse) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "public key before: %s\npublic key now:    %s\n", r.GetPublicKeyBefore(), r.GetPublicKey())
	return errors.Join(err, printDone(cmd, r.GetPlan()))
}
