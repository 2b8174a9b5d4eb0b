package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func newValidate(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check a machine config",
		Long: `Check a machine config and print every fault with its place in the file, what is
wrong and what would be right.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := s.load(cmd); err != nil {
				return err
			}
			cmd.Println(strings.Join(s.configs, ", "), "is valid")
			return nil
		},
	}
	cmd.Annotations = map[string]string{killable: ""}
	s.pickFlag(cmd)
	s.patchFlag(cmd)
	return cmd
}
