package cli

import (
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/schema/talos"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Make a machine config out of another program's"}
	cmd.AddCommand(newImportTalos())
	return cmd
}

func newImportTalos() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "talos FILE",
		Short: "Make a machine config out of one of Talos",
		Long: `Make a machine config out of a Talos machine config: of the single document of its
earlier versions, and of the documents KubeSpanConfig, KubeSpanEndpointsConfig,
DiscoveryServiceConfig and DiscoveryIdentityConfig of later ones. What is left out is
said. FILE is - for standard input.

A config of Talos 0.12 or before has no KubeSpan: it is enabled, with discovery. One of
0.11 or before has no cluster ID and secret: they are made.`,
		Example: "  spanctl import talos worker.yaml -o machine.cue",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := sourceAt(cmd, args[0])
			if err != nil {
				return err
			}
			if source.Data == nil {
				return errors.New(args[0] + " is a directory: want a Talos machine config")
			}
			imported, err := talos.Import(to.path, source, rand.Reader)
			if err != nil {
				return err
			}
			if err := to.write(cmd, imported.Data); err != nil {
				return err
			}
			for _, note := range imported.Notes {
				cmd.PrintErrln("note:", note)
			}
			for _, left := range imported.Left {
				cmd.PrintErrln("left out:", left)
			}
			return nil
		},
	}
	to.flags(cmd, "machine.cue")
	return cmd
}
