package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/schema/generate"
)

func newGen() *cobra.Command {
	cmd := &cobra.Command{Use: "gen", Short: "Write the files of a new cluster"}
	cmd.AddCommand(newGenSecrets(), newGenConfig())
	return cmd
}

// target is where a generated file goes.
type target struct {
	path  string
	force bool
}

func (t *target) flags(cmd *cobra.Command, fallback string) {
	cmd.Flags().StringVarP(&t.path, "output", "o", fallback, "file to write, whose ending tells the format; - for standard output, in CUE")
	cmd.Flags().BoolVar(&t.force, "force", false, "replace the file if it exists")
}

// write makes a file that its owner alone can read.
func (t *target) write(cmd *cobra.Command, data []byte) error {
	if t.path == "-" {
		_, err := cmd.OutOrStdout().Write(data)
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
	cmd.PrintErrln("wrote", t.path)
	return nil
}

func newGenSecrets() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Write a new cluster ID and secret",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secrets, err := generate.NewSecrets(rand.Reader)
			if err != nil {
				return err
			}
			data, err := generate.EncodeSecrets(to.path, secrets)
			if err != nil {
				return err
			}
			return to.write(cmd, data)
		},
	}
	to.flags(cmd, "secrets.cue")
	return cmd
}

func newGenConfig() *cobra.Command {
	var to target
	var b generate.Blueprint
	var secretsFile string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write a machine config, which serves every machine of a cluster",
		Long: `Write a machine config. It serves every machine of a cluster: copy it to each.

The cluster ID and secret come from the file that --with-secrets names, or are new.`,
		Example: "  spanctl gen config --with-kubespan --discovery-endpoint https://discovery.example.com/ -o machine.cue",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if b.Secrets, err = secretsFrom(secretsFile); err != nil {
				return err
			}
			data, err := generate.Config(to.path, b)
			if err != nil {
				return err
			}
			return to.write(cmd, data)
		},
	}
	cmd.Flags().BoolVar(&b.KubeSpan, "with-kubespan", false, "enable the mesh")
	cmd.Flags().StringVar(&b.DiscoveryEndpoint, "discovery-endpoint", "", "URL of the discovery service (default: the schema's)")
	cmd.Flags().StringVar(&secretsFile, "with-secrets", "", "file that `spanctl gen secrets` wrote")
	to.flags(cmd, "machine.cue")
	return cmd
}

func secretsFrom(path string) (generate.Secrets, error) {
	if path == "" {
		return generate.NewSecrets(rand.Reader)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return generate.Secrets{}, fmt.Errorf("read the secrets: %w", err)
	}
	return generate.DecodeSecrets(path, data)
}
