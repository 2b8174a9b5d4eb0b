package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/compare"
	"github.com/spanmesh/span/schema/load"
)

// kernelSide names the kernel as the side of a comparison.
const kernelSide = "kernel"

// diffOptions are the flags of `spanctl diff`.
type diffOptions struct {
	input         configInput
	output, color string
	from, to      string
}

func newDiff(g *globals) *cobra.Command {
	o := &diffOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "diff [-f FILE]",
		Short: "Show what differs between the kernel and a config, or between two configs",
		Long: `Show what the next pass would change in the kernel, by its objects: lines with '-' are
there, lines with '+' would be. With -f it is the plan for that config, else for the
one in force.

--from and --to name what to compare instead: a file or a directory, the number of a
config in the history, or the kernel. -e and -t are about the directory, if a directory
is compared with a file. Secrets are hidden; that they differ shows.

What is wrong beside the differences is printed on standard error: the conditions of the
severities "error" and "warning". 'spanctl get conditions' has all.

The exit status is 0 if there is no difference, 1 if there is one or a condition of the
severity "error", 2 if the comparison failed or an argument is not valid.`,
		Example: `  spanctl diff
  spanctl diff -f machine.cue
  spanctl diff --from 3                 revision 3, and the config that is stored
  spanctl diff --from 3 --to 5
  spanctl diff --from old.cue -f new.cue
  spanctl diff --from old.cue -f ./fleet -e machines.web1
  spanctl diff --to 3                   the kernel, and revision 3`,
		Args: cobra.NoArgs,
	}, o.run)
	withUsageStatus(cmd, exitDiffError)
	o.input.flags(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", outputUnified, "output format: unified, text (a line for each change) or json")
	cmd.Flags().StringVar(&o.color, "color", colorAuto, "colours: auto, always or never")
	cmd.Flags().StringVar(&o.from, "from", kernelSide, "what is compared: a file, a revision or kernel")
	cmd.Flags().StringVar(&o.to, "to", "", "what it is compared with: a file or a revision (default: -f, or the config in force)")
	return cmd
}

func (o *diffOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	c, err := o.compare(ctx, s)
	if err == nil {
		err = o.print(s.streams, c)
	}
	if err != nil {
		return statusError{err, exitDiffError}
	}
	printConditions(s.streams, slices.DeleteFunc(slices.Clone(c.plan.GetConditions()), isInfo))
	if len(c.plan.GetChanges()) > 0 || hasError(c.plan.GetConditions()) {
		return exitStatus(exitDifferences)
	}
	return nil
}

// comparison is a plan that leads from one side to the other.
type comparison struct {
	from, to string // the sides' names
	plan     *agentpb.Plan
}

func (o *diffOptions) print(s streams, c comparison) error {
	switch o.output {
	case outputText:
		return printPlan(s.out, c.plan.GetChanges())
	case outputUnified:
		return (&painter{out: s.out, on: wantsColor(s.out, o.color)}).plan(c)
	default:
		return printJSON(s.out, c.plan)
	}
}

// check checks the flags' values.
func (o *diffOptions) check() error {
	if err := oneOf("output", o.output, outputUnified, outputText, outputJSON); err != nil {
		return err
	}
	if err := oneOf("color", o.color, colorAuto, colorAlways, colorNever); err != nil {
		return err
	}
	switch {
	case o.to == kernelSide:
		return errors.New("a config is compared with the kernel by `--from kernel`")
	case o.to != "" && len(o.input.files) > 0:
		return errors.New("--to and -f both name what to compare with: want one of them")
	default:
		return nil
	}
}

// side is a config that is compared, and its name for people.
type side struct {
	source schema.Source
	name   string
}

// compare makes the plan that leads from one side to the other.
func (o *diffOptions) compare(ctx context.Context, s *agentSession) (c comparison, err error) {
	if err := o.check(); err != nil {
		return c, err
	}
	to, err := o.target(ctx, s)
	if err != nil {
		return c, err
	}
	if o.from == kernelSide {
		c = comparison{from: kernelSide, to: "the config in force"}
		if to != nil {
			c.to = to.name
		}
		c.plan, err = planFor(ctx, s, to)
		return c, err
	}
	from, err := o.sideAt(ctx, s, o.from)
	if err != nil {
		return c, err
	}
	if to == nil {
		stored, err := s.storedConfig(ctx)
		if err != nil {
			return c, err
		}
		to = &side{stored, stored.Name}
	}
	c = comparison{from: from.name, to: to.name}
	c.plan, err = compareConfigs(ctx, s.streams, from.source, to.source)
	return c, err
}

// target reads the config to compare with; nil for the one in force.
func (o *diffOptions) target(ctx context.Context, s *agentSession) (*side, error) {
	switch {
	case o.to != "":
		return o.sideAt(ctx, s, o.to)
	case len(o.input.files) > 0:
		input := o.inputAt(o.input.files...)
		source, err := input.load(ctx, s.streams)
		return &side{source, source.Name}, err
	case len(o.input.patches.texts) > 0:
		stored, err := s.storedConfig(ctx)
		if err != nil {
			return nil, err
		}
		source, err := o.input.patches.apply(ctx, s.streams, stored)
		return &side{source, source.Name}, err
	default:
		return nil, nil
	}
}

// inputAt returns the input for the side at some paths. -e and -t are about a package, so a file
// that is compared with a directory is read without them.
func (o *diffOptions) inputAt(paths ...string) configInput {
	input := o.input
	if sides := append([]string{o.from, o.to}, o.input.files...); slices.ContainsFunc(sides, isDirectory) && !slices.ContainsFunc(paths, isDirectory) {
		input.expression, input.tags = "", nil
	}
	return input
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// sideAt reads the config that --from or --to names.
func (o *diffOptions) sideAt(ctx context.Context, s *agentSession, text string) (*side, error) {
	if isNumber(text) {
		number, err := revisionNumber(text)
		if err != nil {
			return nil, err
		}
		response, err := s.history(ctx, number)
		if err != nil {
			return nil, err
		}
		r := response.GetRevisions()[0]
		return &side{
			source: schema.Source{Name: r.GetFilename(), Data: r.GetConfig()},
			name:   fmt.Sprintf("revision %d (%s, %s)", number, r.GetHow(), r.GetTime().AsTime().Local().Format(time.DateTime)),
		}, nil
	}
	one, err := sourceAt(ctx, s.streams, text, o.input.format)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", text, err)
	}
	input := o.inputAt(text)
	result, err := evaluated(ctx, s.streams, evaluate.Request{Input: load.Input{Sources: []schema.Source{one}, Expression: input.expression, Tags: input.tags}})
	if err != nil {
		return nil, err
	}
	return &side{result.Source, text}, nil
}

// kindSetting is the kind of a change between two configs.
const kindSetting = "setting"

func compareConfigs(ctx context.Context, s streams, from, to schema.Source) (*agentpb.Plan, error) {
	before, err := configOf(ctx, s, from)
	if err != nil {
		return nil, err
	}
	after, err := configOf(ctx, s, to)
	if err != nil {
		return nil, err
	}
	settings, err := compare.Configs(before, after)
	plan := &agentpb.Plan{}
	for _, one := range settings {
		parent, name := one.Path, one.Path
		if at := strings.LastIndex(one.Path, "."); at >= 0 {
			parent, name = one.Path[:at], one.Path[at+1:]
		}
		plan.Changes = append(plan.Changes, &agentpb.Change{Action: "update", Kind: kindSetting, Id: parent,
			Fields: []*agentpb.Field{{Name: name, From: one.From, To: one.To}},
			Text:   fmt.Sprintf("~ %s: %s -> %s", one.Path, orNone(one.From), orNone(one.To))})
	}
	return plan, err
}

func orNone(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}

// planFor returns what a pass with a config would change. To is nil for the config in
// force.
func planFor(ctx context.Context, s *agentSession, to *side) (*agentpb.Plan, error) {
	request := &agentpb.DiffRequest{}
	if to != nil {
		// Not nil: an empty config is a config too.
		request.Config, request.Filename = append([]byte{}, to.source.Data...), filepath.Base(schema.FileName(to.source.Name))
	}
	response, err := call(ctx, s.Diff, request)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if fault := response.GetConfigError(); fault != "" {
		s.note("this is about the config in force, not the config file:\n" + fault)
	}
	return response.GetPlan(), nil
}
