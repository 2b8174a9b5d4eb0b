package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/reference"
)

const (
	formatCUE        = "cue"
	formatJSONSchema = "jsonschema"
)

// schemaOptions are the flags of `spanctl schema`.
type schemaOptions struct{ format string }

func newSchema() *cobra.Command {
	o := &schemaOptions{}
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the schema of machine configs",
		Long: `Print the schema of machine configs: in CUE, with every setting explained, or as JSON
Schema for editors of YAML.`,
		Example: "  spanctl schema | less\n  spanctl schema --format jsonschema > machine.schema.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(streamsOf(cmd)) },
	}
	cmd.Flags().StringVar(&o.format, "format", formatCUE, "cue or jsonschema")
	cmd.AddCommand(newSchemaInstall(), newSchemaStatus())
	return cmd
}

func (o *schemaOptions) run(s streams) error {
	if err := oneOf("format", o.format, formatCUE, formatJSONSchema); err != nil {
		return err
	}
	text := schema.CUE()
	if o.format == formatJSONSchema {
		var err error
		if text, err = reference.JSONSchema(); err != nil {
			return err
		}
	}
	_, err := s.out.Write(text)
	return err
}

// newModule is a CUE module's file, as `cue mod init` names one that has no name.
const newModule = `module: "cue.example"
language: version: "v0.17.0"
`

func newSchemaInstall() *cobra.Command {
	return &cobra.Command{
		Use:   "install [DIR]",
		Short: "Put the schema into your CUE module, for imports",
		Long: `Put the schema into the CUE module that DIR (the working directory) is in; where there
is none, DIR becomes one. Your CUE files then

  import "` + schema.Package + `"

and have machine.#Machine, for ` + "`cue vet`, `cue eval`" + ` and the CUE language server. spanctl
itself needs nothing to be installed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return installSchema(streamsOf(cmd), dir)
		},
	}
}

// installSchema puts the schema into the CUE module that dir is in, or makes it one.
func installSchema(s streams, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	root := schema.ModuleRoot(dir)
	if root == "" {
		root = dir
		if err := writeShared(s, filepath.Join(root, "cue.mod", "module.cue"), []byte(newModule)); err != nil {
			return err
		}
	}
	return writeShared(s, schema.InstalledPath(root), schema.CUE())
}

// writeShared writes a file that anyone may read, and the directories above it.
func writeShared(s streams, path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", path, err)
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, path); err == nil {
			path = relative
		}
	}
	s.note("wrote", path)
	return nil
}
