package cli

import (
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/netlinkapply/userspace"
)

// newWireguardProcess is not for users: passes start it where the kernel has no
// WireGuard.
func newWireguardProcess() *cobra.Command {
	return &cobra.Command{
		Use:    agent.WireguardCommand + " LINK LOG",
		Short:  "Run WireGuard for a link in userspace",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			resetGC()
			return userspace.Main(args[0], args[1])
		},
	}
}
