package cli

import (
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/tunnels"
)

// newTunnelProcess is not for users: the agent starts it where relays are reached over TCP.
func newTunnelProcess() *cobra.Command {
	return &cobra.Command{
		Use:    tunnels.Command + " DIR NAME LOG",
		Short:  "Carry packets to relays over TCP",
		Hidden: true,
		Args:   cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			resetGC()
			return tunnels.Main(args[0], args[1], args[2])
		},
	}
}
