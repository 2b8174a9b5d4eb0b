package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Make a machine config out of another program's"}
	cmd.AddCommand(newImportTalos())
	return cmd
}

func newImportTalos() *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use:   "talos FILE",
		Short: "Make a machine config out of a Talos machine config",
		Long: `Make a machine config out of a Talos machine config: of the single document of its
earlier versions, and of the documents KubeSpanConfig, KubeSpanEndpointsConfig,
DiscoveryServiceConfig and DiscoveryIdentityConfig of later ones. FILE is - for standard
input.

Every setting of KubeSpan and discovery is taken, or the file is refused with the line
that is not. What is off in Talos stays off. Warnings name what spanctl does otherwise,
and what is not about the mesh is listed as left out.`,
		Example: "  spanctl import talos worker.yaml -o machine.cue",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), streamsOf(cmd), args[0]) },
	}
	cmd.Flags().BoolVar(&o.enable, "enable", false, "turn on KubeSpan and discovery, if they are off in Talos")
	cmd.Flags().BoolVar(&o.newSecrets, "new-secrets", false, "make a cluster ID and secret, if the file has neither and discovery needs them")
	o.target.flags(cmd, "machine.cue")
	return cmd
}

// importOptions are the flags of `spanctl import talos`.
type importOptions struct {
	target     target
	enable     bool
	newSecrets bool
}

// run converts a Talos machine config and writes the result.
func (o *importOptions) run(ctx context.Context, s streams, path string) error {
	source, err := sourceAt(ctx, s, path, formatFlag{"yaml"})
	if err != nil {
		return err
	}
	if source.Data == nil {
		return errors.New(path + " is a directory: want a Talos machine config")
	}
	options := evaluate.TalosOptions{Name: o.target.path, Enable: o.enable, NewSecrets: o.newSecrets}
	imported, err := (&evaluate.Evaluator{}).Talos(ctx, source, options)
	if err != nil {
		return err
	}
	if err := o.target.write(s, imported.Data); err != nil {
		return err
	}
	for _, warning := range imported.Warnings {
		s.note("warning:", plain(warning))
	}
	for _, note := range imported.Notes {
		s.note("note:", plain(note))
	}
	if imported.Off {
		again := "--enable -o"
		if o.target.path != "-" {
			again = "--enable --force -o"
		}
		s.note("note: to turn it on: spanctl import talos", plain(path), again, plain(o.target.path))
	}
	for _, left := range imported.Left {
		s.note("left out:", plain(left))
	}
	return nil
}
