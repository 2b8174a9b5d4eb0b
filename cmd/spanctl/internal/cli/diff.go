package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/compare"
	"github.com/spanmesh/span/schema/load"
)

// kernelSide names what is in the kernel, as the side of a comparison.
const kernelSide = "kernel"

// comparison is what the flags of diff say.
type comparison struct {
	output, color string
	from, to      string
}

func newDiff(s *settings) *cobra.Command {
	var c comparison
	cmd := &cobra.Command{
		Use:   "diff [-f FILE]",
		Short: "Show what differs between the kernel and a config, or between two configs",
		Long: `Show what the next pass would change in the kernel, by its objects: lines with '-' are
there, lines with '+' would be. With -f it is the plan for that config, else for the
one in force.

--from and --to name what to compare instead: a file or a directory, the number of a
config in the history, or the kernel. Secrets are hidden; that they differ shows.

The exit status is 0 if there is no difference, 1 if there is one, more if that
cannot be told.`,
		Example: `  spanctl diff
  spanctl diff -f machine.cue
  spanctl diff --from 3                 revision 3, and the config that is stored
  spanctl diff --from 3 --to 5
  spanctl diff --from old.cue -f new.cue
  spanctl diff --to 3                   the kernel, and revision 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := s.diff(cmd, &c)
			if err != nil {
				return statusError{err, exitDiffError}
			}
			if len(plan.GetChanges()) > 0 {
				return exitStatus(exitDifferences)
			}
			return nil
		},
	}
	s.pickFlag(cmd)
	s.patchFlag(cmd)
	cmd.Flags().StringVarP(&c.output, "output", "o", outputUnified, "output format: unified, text (a line for each change) or json")
	cmd.Flags().StringVar(&c.color, "color", colorAuto, "colours: auto, always or never")
	cmd.Flags().StringVar(&c.from, "from", kernelSide, "what is compared: a file, a revision or kernel")
	cmd.Flags().StringVar(&c.to, "to", "", "what it is compared with: a file or a revision (default: -f, or the config in force)")
	return about(cmd)
}

func (s *settings) diff(cmd *cobra.Command, c *comparison) (*agentpb.Plan, error) {
	if err := errors.Join(oneOf("output", c.output, outputUnified, outputText, outputJSON), oneOf("color", c.color, colorAuto, colorAlways, colorNever)); err != nil {
		return nil, err
	}
	plan, names, err := s.compare(cmd, c)
	if err != nil {
		return nil, err
	}
	switch c.output {
	case outputText:
		return plan, printPlan(cmd.OutOrStdout(), plan.GetChanges())
	case outputUnified:
		return plan, (&painter{out: cmd.OutOrStdout(), on: wantsColor(cmd.OutOrStdout(), c.color)}).plan(names, plan)
	}
	text, err := jsonOf(plan)
	if err != nil {
		return nil, err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return plan, err
}

// compare makes the plan that leads from one side to the other, and names the sides.
func (s *settings) compare(cmd *cobra.Command, c *comparison) (plan *agentpb.Plan, names [2]string, err error) {
	names = [2]string{c.from, c.to}
	if c.to == kernelSide {
		return nil, names, errors.New("a config is compared with the kernel by `--from kernel`")
	}
	if c.to != "" && cmd.Flags().Changed("config") {
		return nil, names, errors.New("--to and -f both name what to compare with: want one of them")
	}
	var to *schema.Source
	switch {
	case c.to != "":
		if to, names[1], err = s.side(cmd, c.to); err != nil {
			return nil, names, err
		}
	case cmd.Flags().Changed("config") || len(s.patches) > 0:
		source, err := s.load(cmd)
		if err != nil {
			return nil, names, err
		}
		to, names[1] = &source, source.Name
	}
	if c.from == kernelSide {
		if to == nil {
			names[1] = "the config in force"
		}
		plan, err = s.plan(cmd, to)
		return plan, names, err
	}
	from, name, err := s.side(cmd, c.from)
	if err != nil {
		return nil, names, err
	}
	names[0] = name
	if to == nil {
		stored, err := s.current(cmd)
		if err != nil {
			return nil, names, err
		}
		to, names[1] = &stored, stored.Name
	}
	plan, err = compareConfigs(*from, *to)
	return plan, names, err
}

// side reads the config that --from or --to names.
func (s *settings) side(cmd *cobra.Command, text string) (*schema.Source, string, error) {
	if number, err := strconv.Atoi(text); err == nil && number > 0 {
		response, err := s.history(cmd, number)
		if err != nil {
			return nil, "", err
		}
		r := response.GetRevisions()[0]
		return &schema.Source{Name: r.GetFilename(), Data: r.GetConfig()}, fmt.Sprintf("revision %d (%s, %s)", number, r.GetHow(), r.GetTime().AsTime().Local().Format("2006-01-02 15:04:05")), nil
	}
	one, err := sourceAt(cmd, text)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", text, err)
	}
	source, _, err := load.Input{Sources: []schema.Source{one}, Expression: s.expression}.Resolve()
	return &source, text, err
}

// kindSetting is the kind of a change between two configs.
const kindSetting = "setting"

func compareConfigs(from, to schema.Source) (*agentpb.Plan, error) {
	before, err := load.Config(from.Name, from.Data)
	if err != nil {
		return nil, err
	}
	after, err := load.Config(to.Name, to.Data)
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

// plan asks the agent. To is nil for the config in force, which without an agent is the
// one in the file.
func (s *settings) plan(cmd *cobra.Command, to *schema.Source) (*agentpb.Plan, error) {
	client, err := s.agent(cmd.Context(), cmd)
	if err != nil {
		return nil, err
	}
	request := &agentpb.DiffRequest{}
	if to != nil {
		// Not nil: an empty config is a config too.
		request.Config, request.Filename = append([]byte{}, to.Data...), filepath.Base(to.Name)
	}
	response, err := client.Diff(cmd.Context(), connect.NewRequest(request))
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if fault := response.Msg.GetConfigError(); fault != "" && request.Config == nil {
		cmd.PrintErrf("this is about the config in force, not the config file:\n%s\n", fault)
	}
	return response.Msg.GetPlan(), nil
}
