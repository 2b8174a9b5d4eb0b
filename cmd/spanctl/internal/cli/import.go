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
		Short: "Make a machine config out of a Talos machine config",
		Long: `Make a machine config out of a Talos machine config: of the single document of its
earlier versions, and of the documents KubeSpanConfig, KubeSpanEndpointsConfig,
DiscoveryServiceConfig and DiscoveryIdentityConfig of later ones. What is left out is
printed. FILE is - for standard input.

A config of Talos 0.12 or before has no KubeSpan: it is enabled, with discovery. One of
0.11 or before has no cluster ID and secret: they are made.`,
		Example: "  spanctl import talos worker.yaml -o machine.cue",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return to.importTalos(streamsOf(cmd), args[0]) },
	}
	to.flags(cmd, "machine.cue")
	return cmd
}

// importTalos converts a Talos machine config and writes the result.
func (t *target) importTalos(s streams, path string) error {
	source, err := sourceAt(s, path)
	if err != nil {
		return err
	}
	if source.Data == nil {
		return errors.New(path + " is a directory: want a Talos machine config")
	}
	imported, err := talos.Import(t.path, source, rand.Reader)
	if err != nil {
		return err
	}
	if err := t.write(s, imported.Data); err != nil {
		return err
	}
	for _, note := range imported.Notes {
		s.note("note:", note)
	}
	for _, left := range imported.Left {
		s.note("left out:", left)
	}
	return nil
}
