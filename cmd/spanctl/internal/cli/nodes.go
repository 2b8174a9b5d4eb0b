package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// remote marks the commands that can be about another machine.
const remote = "remote"

// single marks those that are about one machine at a time, as they want somebody's
// attention.
const single = "single"

// about marks a command as one that can be about another machine.
func about(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{remote: ""}
	return cmd
}

// reachNodes has every command below c heed --host and --nodes.
func (s *settings) reachNodes(c *cobra.Command) {
	for _, below := range c.Commands() {
		s.reachNodes(below)
	}
	run := c.RunE
	if run == nil {
		return
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s.socketSet = cmd.Flags().Changed("socket")
		_, canBe := cmd.Annotations[remote]
		switch {
		case s.host == "" && len(s.nodes) == 0:
			return run(cmd, args)
		case !canBe:
			return fmt.Errorf("`%s` is about this machine: it takes no --host and no --nodes", cmd.CommandPath())
		case len(s.nodes) == 0:
			return run(cmd, args)
		case s.host != "":
			return errors.New("--host and --nodes both name machines: want one of them")
		case cmd.Annotations[remote] == single:
			return fmt.Errorf("`%s` is about one machine at a time: want --host", cmd.CommandPath())
		}
		return s.onNodes(cmd, args)
	}
}

// atOnce is how many machines are asked at a time.
const atOnce = 16

// answer is what a command said on a node.
type answer struct {
	node           string
	stdout, stderr bytes.Buffer
	table          rows
	status         int
}

// onNodes runs a command for each node, with the flags that it was given, and shows the
// answers in the order of the nodes. Tables become one, with a column for the node.
func (s *settings) onNodes(cmd *cobra.Command, args []string) error {
	var input []byte
	if slices.Contains(s.configs, standardInput) {
		var err error
		if input, err = io.ReadAll(cmd.InOrStdin()); err != nil {
			return err
		}
	}
	tables := cmd.Annotations[remote] == tabular && tableAsked(cmd)
	answers := make([]answer, len(s.nodes))
	group := new(errgroup.Group)
	group.SetLimit(atOnce)
	for i, node := range s.nodes {
		answers[i].node = node
		group.Go(func() error {
			a := &answers[i]
			root := Root()
			root.SetArgs(argumentsFor(cmd, args, node))
			root.SetIn(bytes.NewReader(input))
			var out io.Writer = &a.stdout
			if follows(cmd) {
				out = &prefixed{prefix: node + ": ", out: cmd.OutOrStdout()}
			}
			root.SetOut(out)
			root.SetErr(&a.stderr)
			ctx := cmd.Context()
			if tables {
				ctx = context.WithValue(ctx, rowsKey{}, &a.table)
			}
			a.status = status(root.ExecuteContext(ctx), &a.stderr)
			return nil
		})
	}
	_ = group.Wait() // an error is part of an answer
	return show(cmd, answers)
}

// follows tells a command that goes on until it is interrupted.
func follows(cmd *cobra.Command) bool {
	flag := cmd.Flags().Lookup("watch")
	return flag != nil && flag.Value.String() == "true"
}

// argumentsFor are the arguments of the same command about one node.
func argumentsFor(cmd *cobra.Command, args []string, node string) []string {
	line := strings.Fields(cmd.CommandPath())[1:]
	line = append(line, "--host="+node)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "nodes" {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, value := range list.GetSlice() {
				line = append(line, "--"+f.Name+"="+value)
			}
			return
		}
		line = append(line, "--"+f.Name+"="+f.Value.String())
	})
	return append(append(line, "--"), args...)
}

// show prints the answers, and fails as the worst of them does.
func show(cmd *cobra.Command, answers []answer) error {
	worst := 0
	var merged [][]string
	for i := range answers {
		a := &answers[i]
		worst = max(worst, a.status)
		for line := range strings.Lines(a.stderr.String()) {
			cmd.PrintErrf("%s: %s\n", a.node, strings.TrimRight(line, "\n"))
		}
		for j, row := range a.table.all {
			switch {
			case j > 0:
				merged = append(merged, append([]string{a.node}, row...))
			case len(merged) == 0:
				merged = append(merged, append([]string{"NODE"}, row...))
			}
		}
		if a.stdout.Len() > 0 {
			cmd.Printf("NODE %s\n%s", a.node, a.stdout.String())
		}
	}
	if err := (&table{out: cmd.OutOrStdout()}).print(merged...); err != nil {
		return err
	}
	if worst != exitOK {
		return exitStatus(worst)
	}
	return nil
}

// tabular marks the commands that print a table, unless they are asked for something
// else.
const tabular = "tabular"

func aboutTable(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{remote: tabular}
	return cmd
}

func tableAsked(cmd *cobra.Command) bool {
	return cmd.Flags().Lookup("output").Value.String() == outputTable && !follows(cmd)
}

// rows takes the rows of tables in place of printing them.
type rows struct{ all [][]string }

// rowsKey is the context key of rows.
type rowsKey struct{}

// newTable is a table that a command prints, or that is taken from it.
func newTable(cmd *cobra.Command) table {
	taken, _ := cmd.Context().Value(rowsKey{}).(*rows)
	return table{out: cmd.OutOrStdout(), taken: taken}
}

// prefixed begins each line with a node's name.
type prefixed struct {
	prefix string
	out    io.Writer
	rest   []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.out, "%s%s\n", p.prefix, line); err != nil {
			return 0, err
		}
		p.rest = rest
	}
}
