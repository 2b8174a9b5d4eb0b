package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
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

// application is how a config is applied.
type application struct {
	mode              string
	immediate, dryRun bool
	timeout           time.Duration
}

func (a *application) flags(cmd *cobra.Command, mode string) {
	cmd.Flags().StringVar(&a.mode, "mode", mode, "auto, immediate, staged or try")
	cmd.Flags().BoolVar(&a.immediate, "immediate", false, "the same as --mode immediate")
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "print what --immediate would change and what traffic it would cut, and neither store nor change anything")
	cmd.Flags().DurationVar(&a.timeout, "timeout", time.Minute, "how long the trial of --mode try is")
	cmd.MarkFlagsMutuallyExclusive("mode", "immediate")
}

// asked is the mode that the flags ask for.
func (a *application) asked() (agentpb.ApplyMode, error) {
	if err := oneOf("mode", a.mode, modeAuto, modeImmediate, modeStaged, modeTry); err != nil {
		return 0, err
	}
	switch {
	case a.dryRun:
		return agentpb.ApplyMode_APPLY_MODE_DRY_RUN, nil
	case a.immediate:
		return agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, nil
	default:
		return modes[a.mode], nil
	}
}

// modeHelp explains the modes.
const modeHelp = `
  staged      the config waits for the agent's next start or a ` + "`spanctl reload`" + `
  immediate   it is put in force, and the changes made are printed
  auto        immediate where that cuts no traffic, else staged
  try         immediate; the config before comes back by itself unless ` + "`spanctl confirm`" + `
              is called before --timeout is over: for changes that may cut your own path.
              That it is to come back is on disk before anything is changed`

func newApply(s *settings) *cobra.Command {
	var how application
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Store a machine config, and put it in force as --mode says",
		Long: `Store a machine config, byte for byte, where the agent reads it. What happens then is
the mode:
` + modeHelp + `

It works without an agent too, for scripts, as a single pass; a trial is then over when
the command is interrupted.

With an agent, the config is stored where the agent was told to find it. Without
one, it is stored at $SPANCTL_CONFIG, or at ` + defaultConfig + `.`,
		Example: `  spanctl apply -f machine.cue --immediate
  spanctl apply -f machine.cue --mode try --timeout 2m
  spanctl apply -f cluster -e machines.web1 --dry-run
  spanctl apply -f machine.yaml -p '{"machine": {"network": {"kubespan": {"mtu": 1380}}}}' -p @site.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, err := s.load(cmd)
			if err != nil {
				return err
			}
			return s.apply(cmd, source, &how)
		},
	}
	s.pickFlag(cmd)
	s.patchFlag(cmd)
	how.flags(cmd, modeStaged)
	return about(cmd)
}

// apply has the agent apply a config.
func (s *settings) apply(cmd *cobra.Command, source schema.Source, how *application) error {
	mode, err := how.asked()
	if err != nil {
		return err
	}
	client, err := s.agent(cmd.Context(), cmd)
	if err != nil {
		return err
	}
	if alone, is := client.(aloneClient); is && mode == agentpb.ApplyMode_APPLY_MODE_TRY {
		return tryAlone(cmd, alone.Once, source, how.timeout)
	}
	response, err := call(cmd.Context(), client.Apply, &agentpb.ApplyRequest{
		Config: source.Data, Filename: source.Name, Mode: mode, Timeout: durationpb.New(how.timeout),
	})
	if err != nil {
		return fmt.Errorf("apply %s: %w", source.Name, err)
	}
	return applied(cmd, response, source, mode)
}

// tryAlone stays until the trial is over.
func tryAlone(cmd *cobra.Command, once agent.Once, source schema.Source, timeout time.Duration) error {
	config, err := load.Input{Sources: []schema.Source{source}, ReadSecret: agent.ReadSecret}.Load()
	if err != nil {
		return err
	}
	// The terminal may go away with what is cut.
	signal.Ignore(unix.SIGHUP)
	back, err := once.Try(cmd.Context(), source, config, timeout, func(plan *agentpb.Plan, path string, until time.Time) error {
		return applied(cmd, &agentpb.ApplyResponse{Plan: plan, StoredAt: path, TrialUntil: timestamppb.New(until)}, source,
			agentpb.ApplyMode_APPLY_MODE_TRY)
	})
	switch {
	case err != nil:
		return err
	case back == nil:
		cmd.PrintErrln("confirmed")
		return nil
	}
	cmd.PrintErrln("not confirmed: the config before is in force again")
	return errors.Join(printDone(cmd, back), exitStatus(exitError))
}

// applied prints what an apply came to.
func applied(cmd *cobra.Command, response *agentpb.ApplyResponse, source schema.Source, mode agentpb.ApplyMode) error {
	if path := response.GetStoredAt(); path != "" && path != source.Name {
		cmd.PrintErrf("stored at %s\n", path)
	}
	switch {
	case response.GetStaged():
		cmd.PrintErrln("not in force yet, since it cuts traffic:")
		for _, cut := range response.GetPlan().GetCuts() {
			cmd.PrintErrln("  " + cut)
		}
		cmd.PrintErrln("`spanctl reload` puts it in force, `--mode try` does for a while")
		return nil
	case mode == agentpb.ApplyMode_APPLY_MODE_STAGED:
		cmd.PrintErrln("not in force yet: the agent's next start or `spanctl reload` puts the config in force, `--immediate` does at once")
		return nil
	case mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN:
		return printDryRun(cmd, response.GetPlan())
	}
	err := printDone(cmd, response.GetPlan())
	if until := response.GetTrialUntil(); until != nil {
		cmd.PrintErrf("on trial until %s: `spanctl confirm` keeps it, else the config before comes back\n", until.AsTime().Local().Format(time.TimeOnly))
	}
	return err
}

func printDryRun(cmd *cobra.Command, plan *agentpb.Plan) error {
	if len(plan.GetChanges()) == 0 {
		cmd.PrintErrln("no changes")
	}
	if err := printPlan(cmd.OutOrStdout(), plan.GetChanges()); err != nil {
		return err
	}
	switch {
	case len(plan.GetCuts()) > 0:
		cmd.PrintErrln("this cuts:")
		for _, cut := range plan.GetCuts() {
			cmd.PrintErrln("  " + cut)
		}
	case len(plan.GetChanges()) > 0:
		cmd.PrintErrln("this cuts no traffic")
	}
	return nil
}

// call is one of the agent, without the wrapping of requests and responses.
func call[Q, R any](ctx context.Context, do func(context.Context, *connect.Request[Q]) (*connect.Response[R], error), request *Q) (*R, error) {
	response, err := do(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}
