package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema/generate"
)

func newGen() *cobra.Command {
	cmd := &cobra.Command{Use: "gen", Short: "Write the files of a new cluster"}
	cmd.AddCommand(newGenSecrets(), newGenConfig())
	return cmd
}

// target is the file that a command writes.
type target struct {
	path  string
	force bool
}

func (t *target) flags(cmd *cobra.Command, fallback string) {
	cmd.Flags().StringVarP(&t.path, "output", "o", fallback, "file to write, whose ending is the format; - for standard output, in CUE")
	cmd.Flags().BoolVar(&t.force, "force", false, "replace the file if it exists")
}

// write writes a file that only its owner can read.
func (t *target) write(s streams, data []byte) error {
	if t.path == "-" {
		_, err := s.out.Write(data)
		return err
	}
	how := os.O_EXCL
	if t.force {
		how = os.O_TRUNC
	}
	file, err := os.OpenFile(t.path, os.O_CREATE|os.O_WRONLY|how, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; --force replaces it", t.path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Chmod(0o600), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", t.path, err)
	}
	s.note("wrote", t.path)
	return nil
}

func newGenSecrets() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Write a new cluster ID and secret",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return to.writeSecrets(streamsOf(cmd)) },
	}
	to.flags(cmd, "secrets.cue")
	return cmd
}

func (t *target) writeSecrets(s streams) error {
	secrets, err := generate.NewSecrets(rand.Reader)
	if err != nil {
		return err
	}
	data, err := generate.EncodeSecrets(t.path, secrets)
	if err != nil {
		return err
	}
	return t.write(s, data)
}

// genConfigOptions are the flags of `spanctl gen config`.
type genConfigOptions struct {
	target      target
	blueprint   generate.Blueprint
	secretsFile string
}

func newGenConfig() *cobra.Command {
	o := &genConfigOptions{}
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write a machine config, which serves every machine of a cluster",
		Long: `Write a machine config. It serves every machine of a cluster: copy it to each.

The cluster ID and secret come from the file that --with-secrets names, or are new.`,
		Example: "  spanctl gen config --with-kubespan --discovery-endpoint https://discovery.example.com/ -o machine.cue",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streamsOf(cmd)) },
	}
	cmd.Flags().BoolVar(&o.blueprint.KubeSpan, "with-kubespan", false, "enable the mesh")
	cmd.Flags().StringVar(&o.blueprint.DiscoveryEndpoint, "discovery-endpoint", "", "URL of the discovery service (default: the schema's)")
	cmd.Flags().StringVar(&o.secretsFile, "with-secrets", "", "file that 'spanctl gen secrets' wrote")
	o.target.flags(cmd, "machine.cue")
	return cmd
}

func (o *genConfigOptions) run(ctx context.Context, s streams) (err error) {
	if o.blueprint.Secrets, err = secretsFrom(ctx, s, o.secretsFile); err != nil {
		return err
	}
	data, err := generate.Config(o.target.path, o.blueprint)
	if err != nil {
		return err
	}
	return o.target.write(s, data)
}

// secretsFrom reads the secrets in a file, or makes new ones if path is "".
func secretsFrom(ctx context.Context, s streams, path string) (generate.Secrets, error) {
	if path == "" {
		return generate.NewSecrets(rand.Reader)
	}
	source, err := sourceAt(ctx, s, path, formatFlag{})
	if err == nil && source.Data == nil {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return generate.Secrets{}, fmt.Errorf("read the secrets: %w", err)
	}
	return (&evaluate.Evaluator{}).Secrets(ctx, source)
}
