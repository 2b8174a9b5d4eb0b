package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
)

// historyOptions are the flags of `spanctl history`.
type historyOptions struct{ output string }

func newHistory(g *globals) *cobra.Command {
	o := &historyOptions{}
	cmd := agentCommand(g, oneTable, &cobra.Command{
		Use:   "history",
		Short: "List the configs that were in force",
		Long: fmt.Sprintf(`List the last %d configs that were put in force, the newest first, and what put them
there. `+"`spanctl rollback N`"+` puts one in force again, `+"`spanctl diff --from N`"+` shows what has
changed since.`, statedir.Kept),
		Args: cobra.NoArgs,
	}, o.run)
	cmd.Flags().StringVarP(&o.output, "output", "o", outputTable, "output format: table or json")
	return cmd
}

func (o *historyOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	if err := oneOf("output", o.output, outputTable, outputJSON); err != nil {
		return err
	}
	response, err := s.history(ctx, 0)
	if err != nil {
		return err
	}
	if o.output == outputJSON {
		return printJSON(s.out, response)
	}
	rows := [][]string{{"REVISION", "TIME", "HOW", "FILE", "STATE"}}
	newest := false // seen
	for i, r := range response.GetRevisions() {
		state := ""
		switch {
		case i == 0 && r.GetUnconfirmed() && response.GetTrialUntil() != nil:
			state = "on trial until " + response.GetTrialUntil().AsTime().Local().Format(time.TimeOnly)
		case r.GetUnconfirmed():
			state = "not confirmed"
		case !newest:
			state, newest = "newest", true
		}
		rows = append(rows, []string{strconv.FormatUint(uint64(r.GetNumber()), 10), r.GetTime().AsTime().Local().Format(time.DateTime), r.GetHow(), r.GetFilename(), state})
	}
	table := s.table()
	return table.print(rows...)
}

// history asks for the history. With a number, it is that config alone, and its text.
func (s *agentSession) history(ctx context.Context, number uint32) (*agentpb.HistoryResponse, error) {
	return call(ctx, s.History, &agentpb.HistoryRequest{Number: number})
}

// revisionNumber reads the number of a revision, as `spanctl history` prints it.
func revisionNumber(text string) (uint32, error) {
	number, err := strconv.ParseUint(text, 10, 32)
	if err != nil || number < 1 || number > statedir.MaxNumber {
		return 0, fmt.Errorf("the revision is %q: want a number that `spanctl history` shows", text)
	}
	return uint32(number), nil
}

// isNumber reports whether an argument has digits alone, perhaps after a sign: it stands for a
// revision, and a file of that name is "./5".
func isNumber(text string) bool {
	digits := strings.TrimLeft(text, "+-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}
