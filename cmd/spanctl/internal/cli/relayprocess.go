package cli

import (
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/relayprocess"
)

// newRelayProcess is not for users: the agent starts it on a member that offers a relay.
func newRelayProcess() *cobra.Command {
	return &cobra.Command{
		Use:    relayprocess.Command + " DIR PORT MARK",
		Short:  "Run the relay that this machine is for others",
		Hidden: true,
		Args:   cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			resetGC()
			return relayprocess.Main(args[0], args[1], args[2])
		},
	}
}
