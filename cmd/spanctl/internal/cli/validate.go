package cli

import (
	"github.com/spf13/cobra"
)

func newValidate(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check a machine config",
		Long: `Check a machine config and print every fault with its place in the file, what is
wrong and what would be right.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := s.load(); err != nil {
				return err
			}
			cmd.Println(s.config, "is valid")
			return nil
		},
	}
}
