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

	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// reach says on how many machines a command can run at a time, and how their output is
// joined.
type reach string

const (
	// eachNode commands run on any number of machines, whose answers follow each other.
	eachNode reach = "each"
	// oneTable commands run on any number of machines too, and their tables are joined.
	oneTable reach = "table"
	// oneList commands run on any number of machines, and their documents become one list.
	oneList reach = "list"
	// oneNode commands are interactive: they run on one machine at a time.
	oneNode reach = "one"
)

// reachKey is the annotation with a command's reach. Commands without it are about this
// machine.
const reachKey = "reach"

// agentSession is one run of a command that speaks to an agent.
type agentSession struct {
	agentpbconnect.AgentServiceClient
	*connector
	streams
	// joined takes what several machines answer; nil where it is printed.
	joined *joined
}

// newSession returns the session of a command, and what ends it.
func (g *globals) newSession(cmd *cobra.Command) (session *agentSession, end func() error) {
	connector := g.connector(cmd)
	client, end := connector.client()
	taken, _ := cmd.Context().Value(joinedKey{}).(*joined)
	return &agentSession{AgentServiceClient: client, connector: connector, streams: streamsOf(cmd), joined: taken}, end
}

// agentCommand makes cmd a command that speaks to an agent: here, on the machine of
// --host, or on each of --nodes.
func agentCommand(g *globals, r reach, cmd *cobra.Command, run func(ctx context.Context, s *agentSession, args []string) error) *cobra.Command {
	cmd.Annotations = map[string]string{reachKey: string(r)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(g.nodes) > 0 {
			return g.runOnNodes(cmd, args)
		}
		session, end := g.newSession(cmd)
		return errors.Join(run(cmd.Context(), session, args), end())
	}
	return cmd
}

// checkReach refuses --host and --nodes for commands that do not take them.
func (g *globals) checkReach(cmd *cobra.Command) error {
	r, isAgentCommand := cmd.Annotations[reachKey]
	switch {
	case g.host == "" && len(g.nodes) == 0:
		return nil
	case !isAgentCommand:
		return fmt.Errorf("`%s` is about this machine: it takes no --host and no --nodes", cmd.CommandPath())
	case g.host != "" && len(g.nodes) > 0:
		return errors.New("--host and --nodes both name machines: want one of them")
	case len(g.nodes) > 0 && reach(r) == oneNode:
		return fmt.Errorf("`%s` is about one machine at a time: want --host", cmd.CommandPath())
	default:
		return nil
	}
}

// maxParallel is how many machines are asked at a time.
const maxParallel = 16

// answer is what a command printed on a node.
type answer struct {
	node           string
	stdout, stderr bytes.Buffer
	joined         joined
	status         int
}

// runOnNodes runs a command for each node, with the flags that it was given, and prints
// the answers in the order of the nodes.
func (g *globals) runOnNodes(cmd *cobra.Command, args []string) error {
	input, err := inputOf(cmd)
	if err != nil {
		return err
	}
	output := joinedOutput{table: table{out: cmd.OutOrStdout()}, headings: !isSet(cmd, noHeadersFlag), watch: isWatch(cmd),
		health: cmd.Annotations[reachKey] == string(oneList)}
	if output.format, err = formatOf(cmd); err != nil {
		return usageError{err}
	}
	answers := make([]answer, len(g.nodes))
	group := new(errgroup.Group)
	group.SetLimit(maxParallel)
	for i, node := range g.nodes {
		answers[i].node = node
		line := argumentsFor(cmd, args, node) // here: visiting flags sorts them
		group.Go(func() error {
			runOnNode(cmd, line, input, &answers[i], output)
			return nil
		})
	}
	_ = group.Wait() // an error is part of an answer
	return printAnswers(streamsOf(cmd), answers, output)
}

// inputOf reads standard input, if the command reads a config from there: each node needs
// all of it.
func inputOf(cmd *cobra.Command) ([]byte, error) {
	flag := cmd.Flags().Lookup("config")
	if flag == nil {
		return nil, nil
	}
	files, ok := flag.Value.(pflag.SliceValue)
	if !ok || !slices.Contains(files.GetSlice(), standardInput) {
		return nil, nil
	}
	return io.ReadAll(cmd.InOrStdin())
}

func runOnNode(cmd *cobra.Command, line []string, input []byte, a *answer, output joinedOutput) {
	root := Root()
	root.SetArgs(line)
	root.SetIn(bytes.NewReader(input))
	var out io.Writer = &a.stdout
	if isWatch(cmd) {
		out = output.watched(cmd.OutOrStdout(), a.node)
	}
	root.SetOut(out)
	root.SetErr(&a.stderr)
	ctx := cmd.Context()
	if output.format != nil {
		a.joined.node = a.node
		ctx = context.WithValue(ctx, joinedKey{}, &a.joined)
	}
	a.status = execute(ctx, root, &a.stderr)
}

// isWatch reports whether a command runs until it is interrupted.
func isWatch(cmd *cobra.Command) bool { return isSet(cmd, "watch") }

// isSet reports whether a command has a flag without a value, and it is given.
func isSet(cmd *cobra.Command, name string) bool {
	flag := cmd.Flags().Lookup(name)
	return flag != nil && flag.Value.String() == "true"
}

// argumentsFor returns the arguments of the same command about one node.
func argumentsFor(cmd *cobra.Command, args []string, node string) []string {
	line := strings.Fields(cmd.CommandPath())[1:]
	line = append(line, "--host="+node)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "nodes" || f.Name == noHeadersFlag && !isWatch(cmd) {
			return // the joined table has headings or not
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
