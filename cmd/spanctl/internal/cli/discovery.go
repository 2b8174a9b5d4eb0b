package cli

import (
	"github.com/spf13/cobra"
)

func newDiscovery(s *settings) *cobra.Command {
	cmd := &cobra.Command{Use: "discovery", Short: "Host the discovery that machines find each other by, and look into it"}
	cmd.AddCommand(newServe(s), newDiscoveryList(s), newDiscoveryWatch(s), newDiscoveryRemove(s))
	return cmd
}
