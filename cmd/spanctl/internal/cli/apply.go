package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/schema"
)

// The values of --mode.
const (
	modeAuto      = "auto"
	modeImmediate = "immediate"
	modeStaged    = "staged"
	modeTry       = "try"
)

var modes = map[string]agentpb.ApplyMode{
	modeAuto:      agentpb.ApplyMode_APPLY_MODE_AUTO,
	modeImmediate: agentpb.ApplyMode_APPLY_MODE_IMMEDIATE,
	modeStaged:    agentpb.ApplyMode_APPLY_MODE_STAGED,
	modeTry:       agentpb.ApplyMode_APPLY_MODE_TRY,
}

// modeHelp explains the modes.
const modeHelp = `
  staged      the config waits for the agent's next start or a ` + "`spanctl reload`" + `
  immediate   it is put in force, and the changes made are printed
  auto        immediate where that cuts no traffic, else staged
  try         immediate; the config before comes back by itself unless ` + "`spanctl confirm`" + `
              is called before --timeout is over: for changes that may cut your own path.
              The trial is on disk before anything is changed

The exit status is 0 if what the mode says was done, also if auto stages the config; 1 if
it was not, or if a trial ended and the config before came back.`

// applyFlags are how a config is applied.
type applyFlags struct {
	mode              string
	immediate, dryRun bool
	timeout           time.Duration
	timed, chosen     *pflag.Flag // those of timeout and mode
	// hint is set to name what shows the mesh, after a config was put in force.
	hint bool
}

func (f *applyFlags) flags(cmd *cobra.Command, mode string) {
	cmd.Flags().StringVar(&f.mode, "mode", mode, "auto, immediate, staged or try")
	cmd.Flags().BoolVar(&f.immediate, "immediate", false, "the same as --mode immediate")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print which settings and what in the kernel would change, and what traffic that would cut, and neither store nor change anything")
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long the trial of --mode try is")
	f.timed, f.chosen = cmd.Flags().Lookup("timeout"), cmd.Flags().Lookup("mode")
	cmd.MarkFlagsMutuallyExclusive("mode", "immediate")
}

// asked is the mode that the flags ask for.
func (f *applyFlags) asked() (agentpb.ApplyMode, error) {
	if err := oneOf("mode", f.mode, modeAuto, modeImmediate, modeStaged, modeTry); err != nil {
		return 0, err
	}
	switch {
	case f.timed.Changed && f.mode != modeTry:
		return 0, errors.New("--timeout is that of a trial: want --mode try with it")
	case f.dryRun:
		return agentpb.ApplyMode_APPLY_MODE_DRY_RUN, nil
	case f.immediate:
		return agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, nil
	case f.mode == modeStaged && !f.chosen.Changed:
		return agentpb.ApplyMode_APPLY_MODE_UNSPECIFIED, nil
	default:
		return modes[f.mode], nil
	}
}

// apply applies a config and prints what that did.
func (f *applyFlags) apply(ctx context.Context, s *agentSession, source schema.Source) error {
	return f.applyOver(ctx, s, source, nil)
}

// applyOver is apply for a config that was made from base, the stored one. If that was changed
// meanwhile, nothing is done, and isConflict reports true for the error. A nil base stands for
// any.
func (f *applyFlags) applyOver(ctx context.Context, s *agentSession, source schema.Source, base []byte) error {
	mode, err := f.asked()
	if err != nil {
		return err
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_TRY {
		// The terminal may go away with what is cut.
		signal.Ignore(unix.SIGHUP)
	}
	before := s.storedBefore(ctx)
	request := &agentpb.ApplyRequest{Config: source.Data, Filename: schema.FileName(source.Name), Mode: mode, Timeout: durationpb.New(f.timeout)}
	if base != nil {
		sum := sha256.Sum256(base)
		request.Base = sum[:]
	}
	response, err := call(ctx, s.Apply, request)
	if err != nil {
		return fmt.Errorf("apply %s: %w", source.Name, err)
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN {
		return printDryRun(s.streams, settingsBetween(ctx, s.streams, before, source), response.GetPlan())
	}
	mode = cmp.Or(response.GetDone(), mode)
	if err := s.printApplied(ctx, response, before, source, mode); err != nil {
		return err
	}
	if f.hint && mode != agentpb.ApplyMode_APPLY_MODE_STAGED && s.isAgents() {
		s.note("`spanctl status` shows how the mesh is")
	}
	end, err := s.awaitTrial(ctx)
	if end == nil || err != nil {
		return err
	}
	if end.Confirmed {
		s.note("confirmed")
		return nil
	}
	s.note("not confirmed: the config before is in force again")
	return errors.Join(printDone(s.streams, end.Plan), exitStatus(exitError))
}

// isConflict reports whether a config was not applied since the stored one was changed meanwhile.
func isConflict(err error) bool { return connect.CodeOf(err) == connect.CodeAborted }

// storedBefore returns the config that is stored before another one is applied; nil if there is
// none that can be read.
func (s *agentSession) storedBefore(ctx context.Context) *schema.Source {
	stored, err := s.storedConfig(ctx)
	if err != nil {
		return nil
	}
	return &stored
}

// settingsBetween returns what a config changes of the settings of another; none if one is not valid.
func settingsBetween(ctx context.Context, s streams, before *schema.Source, after schema.Source) []*agentpb.Change {
	if before == nil {
		return nil
	}
	plan, err := compareConfigs(ctx, s, *before, after)
	if err != nil {
		return nil
	}
	return plan.GetChanges()
}

// printApplied prints what an apply did. Before is the config that was stored; it may be nil.
func (s *agentSession) printApplied(ctx context.Context, response *agentpb.ApplyResponse, before *schema.Source, source schema.Source, mode agentpb.ApplyMode) error {
	path := response.GetStoredAt()
	same := before != nil && before.Name == path && bytes.Equal(before.Data, source.Data)
	switch {
	case same && mode == agentpb.ApplyMode_APPLY_MODE_STAGED:
		s.note("no changes: the same config is stored already at", path)
		if s.isNewest(ctx, source.Data) {
			return nil
		}
	case path != "" && path != source.Name:
		s.note("stored at", path)
	}
	s.noteKept(before, path)
	switch {
	case response.GetStaged():
		s.note("not in force yet, since it cuts traffic:")
		printImpact(s.streams, response.GetPlan())
		s.note("`spanctl reload` puts it in force, `--mode try` does for a while")
		return nil
	case mode == agentpb.ApplyMode_APPLY_MODE_STAGED:
		s.note("not in force yet: the agent's next start or `spanctl reload` puts the config in force, `--immediate` does at once")
		return nil
	}
	err := printDone(s.streams, response.GetPlan())
	if until := response.GetTrialUntil(); until != nil {
		s.note(fmt.Sprintf("on trial until %s: `spanctl confirm` keeps it, else the config before comes back", until.AsTime().Local().Format(time.TimeOnly)))
	}
	return err
}

// noteKept says where the config is that one in another format replaced, which is stored at a path.
func (s *agentSession) noteKept(before *schema.Source, path string) {
	if before != nil && path != "" && before.Name != path {
		s.note("the config before, in another format, is kept at", before.Name+".bak")
	}
}

// isNewest reports whether a config was put in force last.
func (s *agentSession) isNewest(ctx context.Context, data []byte) bool {
	all, err := s.history(ctx, 0)
	if err != nil || len(all.GetRevisions()) == 0 {
		return false
	}
	newest, err := s.history(ctx, all.GetRevisions()[0].GetNumber())
	return err == nil && bytes.Equal(newest.GetRevisions()[0].GetConfig(), data)
}

// printDryRun prints what a config would change: of the settings that are stored, and in the kernel.
func printDryRun(s streams, settings []*agentpb.Change, plan *agentpb.Plan) error {
	if err := printPlan(s.out, settings); err != nil {
		return err
	}
	if len(plan.GetChanges()) == 0 {
		if len(settings) > 0 {
			s.note("no changes in the kernel")
		} else {
			s.note("no changes")
		}
		return nil
	}
	if err := printPlan(s.out, plan.GetChanges()); err != nil {
		return err
	}
	if len(plan.GetImpact()) == 0 {
		s.note("this cuts no traffic")
		return nil
	}
	s.note("this cuts:")
	printImpact(s, plan)
	return nil
}

// printImpact prints what traffic a plan cuts.
func printImpact(s streams, plan *agentpb.Plan) {
	for _, cut := range plan.GetImpact() {
		s.note("  " + plain(cut))
	}
}

// applyOptions are the flags of `spanctl apply`.
type applyOptions struct {
	input configInput
	apply applyFlags
}

func newApply(g *globals) *cobra.Command {
	o := &applyOptions{apply: applyFlags{hint: true}}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Store a machine config, and put it in force as --mode says",
		Long: `Store a machine config, byte for byte, where the agent reads it. What happens then is
the mode:
` + modeHelp + `

It works without an agent too, for scripts, as a single pass. The command then waits for
the end of a trial, and ends it when it is interrupted. If it is killed, the next command
that changes something does that, or the next start of an agent.

Without --mode, a config is staged. An agent that never had one puts it in force at once, where
that cuts no traffic.

With an agent, the config is stored where the agent was told to find it. Without
one, it is stored at $SPANCTL_CONFIG, or at ` + defaultConfig + `. A config that is stored
there in another format is kept, with ".bak" after its name; if there are several,
nothing is stored. The same config again is not written.`,
		Example: `  spanctl apply -f machine.cue --immediate
  spanctl apply -f machine.cue --mode try --timeout 2m
  spanctl apply -f cluster -e machines.web1 --dry-run
  spanctl apply -f machine.yaml -p '{"machine": {"network": {"kubespan": {"mtu": 1380}}}}' -p @site.yaml`,
		Args: cobra.NoArgs,
	}, o.run)
	o.input.flags(cmd, storedConfig())
	o.apply.flags(cmd, modeStaged)
	return cmd
}

func (o *applyOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	source, err := o.input.load(ctx, s.streams)
	if err != nil {
		return err
	}
	return o.apply.apply(ctx, s, source)
}
