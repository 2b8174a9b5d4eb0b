package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// validateOptions are the flags of `spanctl validate`.
type validateOptions struct{ input configInput }

func newValidate() *cobra.Command {
	o := &validateOptions{}
	cmd := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check a machine config",
		Long: `Check a machine config and print every fault with its place in the file, what is
wrong and what would be right.`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{harmless: ""},
		RunE:        func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), streamsOf(cmd)) },
	}
	o.input.flags(cmd, storedConfig())
	return cmd
}

func (o *validateOptions) run(ctx context.Context, s streams) error {
	if _, err := o.input.load(ctx, s); err != nil {
		return err
	}
	return s.say(o.input.names(), "is valid")
}
