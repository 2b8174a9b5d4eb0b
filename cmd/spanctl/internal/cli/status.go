package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/peer"
)

// The exit statuses of status and wait.
const (
	exitDegraded = 1
	exitBroken   = 2
	// exitNoAnswer is that of a command that has nothing to judge by: no agent, or one that does not
	// answer, or arguments that are not valid.
	exitNoAnswer = 3
)

// The values of --check.
const (
	checkLive  = "live"
	checkReady = "ready"
)

// answerTimeout is how long an agent may take to answer. It waits for nothing to do so.
const answerTimeout = 10 * time.Second

// statusOptions are the flags of `spanctl status`.
type statusOptions struct {
	output, color, check string
	timeout              time.Duration
}

func newStatus(g *globals) *cobra.Command {
	o := &statusOptions{}
	cmd := agentCommand(g, oneList, &cobra.Command{
		Use:   "status",
		Short: "Show how the mesh is: what is wrong, why, and what to do",
		Long: `Show the state of this machine's mesh, what is wrong with it, with cause and remedy, and
the peers. Errors are marked with x, warnings with !, and what is good to know with i.

The exit status is
  0   healthy
  1   degraded: there is a warning; or the agent is starting: no peer is up yet
  2   broken: there is an error
  3   no agent runs, or it does not answer, or an argument is not valid

With --nodes it is that of the worst machine, and -o json prints one list, whose items have a node and
its health, or an error. --check is for probes of supervisors: it prints
nothing where all is well, and the exit status is 0 or 1.

  live    the agent answers, and its loop has turned within 90 seconds
  ready   the mesh carries traffic; one that is starting is not ready`,
		Example: "  spanctl status\n  spanctl status -n root@web1,root@web2\n  spanctl status --check ready\n  spanctl status -o json",
		Args:    cobra.NoArgs,
	}, o.run)
	cmd.Flags().StringVarP(&o.output, "output", "o", outputText, "output format: text, yaml or json")
	cmd.Flags().StringVar(&o.color, "color", colorAuto, "colour the output: auto, always or never [$NO_COLOR]")
	cmd.Flags().StringVar(&o.check, "check", "", "exit with 0 or 1 only: live or ready")
	cmd.Flags().DurationVar(&o.timeout, "timeout", answerTimeout, "how long the agent may take to answer")
	withUsageStatus(cmd, exitNoAnswer)
	return cmd
}

func (o *statusOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	if err := errors.Join(oneOf("output", o.output, outputText, outputYAML, outputJSON), oneOf("color", o.color, colorAuto, colorAlways, colorNever),
		oneOf("check", o.check, "", checkLive, checkReady)); err != nil {
		return err
	}
	h, err := s.health(ctx, o.timeout)
	if o.check != "" {
		return checked(o.check, h, err)
	}
	if late := (*noAnswerError)(nil); errors.As(err, &late) && o.output != outputText {
		h, err = agent.NoAnswer(late.condition), nil
	}
	if err != nil {
		return statusError{err, exitNoAnswer}
	}
	if err := o.print(s, h); err != nil {
		return err
	}
	if exit := exitOf(h.GetState()); exit != exitOK {
		return exitStatus(exit)
	}
	return nil
}

// health asks an agent how the mesh is, and does not wait for longer than a time.
func (s *agentSession) health(ctx context.Context, within time.Duration) (*agentpb.GetHealthResponse, error) {
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	h, err := call(ctx, s.GetHealth, &agentpb.GetHealthRequest{})
	if isLate(ctx, err) {
		return nil, s.noAnswer(within)
	}
	if connect.CodeOf(err) == connect.CodeUnimplemented {
		return nil, errors.New("the agent is of an earlier version, which does not know its health: restart it, which leaves the mesh up")
	}
	return h, err
}

// isLate reports whether a call failed since the time of its context was up. The agent knows that
// time, and may find it before this process does.
func isLate(ctx context.Context, err error) bool {
	return err != nil && (errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		connect.CodeOf(err) == connect.CodeDeadlineExceeded)
}

// noAnswerError is the error of an agent that accepts a call and does not answer.
type noAnswerError struct{ condition condition.Condition }

func (e *noAnswerError) Error() string { return notThere(e.condition.Cause, e.condition.Remedy) }

// noAnswer returns the error of an agent that has not answered within a time.
func (c *connector) noAnswer(within time.Duration) error {
	where := "at " + c.socket
	if c.host != "" {
		where = "of " + c.host
	}
	return statusError{&noAnswerError{condition.Condition{Code: condition.NoAgent,
		Cause:  fmt.Sprintf("the agent %s has not answered within %v: it hangs, or the machine does", where, within),
		Remedy: "`systemctl restart spanctl`"}}, exitNoAnswer}
}

// notThere says that no agent answers, with the remedy on the next line.
func notThere(cause, remedy string) string {
	return fmt.Sprintf("%s: %s\n  %s", condition.NoAgent, cause, strings.Trim(remedy, "`"))
}

// exitOf returns the exit status that stands for a state.
func exitOf(state string) int {
	switch health.State(state) {
	case health.Healthy:
		return exitOK
	case health.Starting, health.Degraded:
		return exitDegraded
	case health.Broken:
		return exitBroken
	default:
		return exitNoAnswer
	}
}

// checked returns nil where a check holds, or else an error that says why it does not.
func checked(check string, h *agentpb.GetHealthResponse, err error) error {
	switch {
	case err != nil:
		return statusError{err, exitError}
	case agent.IsAbsent(h):
		return noAgentError(h)
	case check == checkLive && !h.GetLive():
		return errors.New("not live: the loop of the agent has not turned within 90 seconds")
	case check == checkReady && !h.GetReady():
		return fmt.Errorf("not ready: %s", notReadyText(h))
	default:
		return nil
	}
}

// notReadyText says why a machine is not ready. No condition may say so yet where no peer is up.
func notReadyText(h *agentpb.GetHealthResponse) string {
	for _, c := range h.GetConditions() {
		is := condition.Condition{Code: condition.Code(c.GetCode()), Level: condition.Severity(c.GetSeverity())}
		if is.NotReady() {
			return reasonText(h)
		}
	}
	up := func(p *agentpb.Peer) bool { return p.GetState() == string(peer.Up) }
	if len(h.GetPeers()) > 0 && !slices.ContainsFunc(h.GetPeers(), up) {
		return fmt.Sprintf("%s; none of %s is up", reasonText(h), human.Count(len(h.GetPeers()), "peer"))
	}
	return reasonText(h)
}

// reasonText returns the state with what is wrong, or not ready, as in "degraded: PeerUnreachable db2 (+1)".
func reasonText(h *agentpb.GetHealthResponse) string {
	var named []condition.Key
	for _, c := range h.GetConditions() {
		if key := (condition.Key{Code: condition.Code(c.GetCode()), Subject: c.GetSubject()}); isNamed(condition.Severity(c.GetSeverity()), key.Code) {
			named = append(named, key)
		}
	}
	return stateLine(h.GetState(), named)
}

// isNamed reports whether the line of a state names a condition: one that is wrong, or not ready.
func isNamed(severity condition.Severity, code condition.Code) bool {
	return severity != condition.SeverityInfo || code.Definition().NotReady
}

// stateLine returns a state with the first of the conditions, and how many there are beside it.
func stateLine(state string, conditions []condition.Key) string {
	if len(conditions) == 0 {
		return plain(state)
	}
	text := state + ": " + strings.TrimSpace(string(conditions[0].Code)+" "+conditions[0].Subject)
	if len(conditions) > 1 {
		text += fmt.Sprintf(" (+%d)", len(conditions)-1)
	}
	return plain(text)
}

// noAgentError is the error of a machine without an agent, with its remedy on the next line.
func noAgentError(h *agentpb.GetHealthResponse) error {
	for _, c := range h.GetConditions() {
		if c.GetCode() == string(condition.NoAgent) {
			return errors.New(notThere(c.GetCause(), c.GetRemedy()))
		}
	}
	return errors.New("no agent answers")
}

// print prints the health in the format of --output.
func (o *statusOptions) print(s *agentSession, h *agentpb.GetHealthResponse) error {
	switch {
	case o.output != outputText:
		return s.printHealth(o.output, h)
	case agent.IsAbsent(h):
		return statusError{noAgentError(h), exitNoAnswer}
	}
	v := healthtext.View{Width: terminalWidth(s.out), Color: wantsColor(s.out, o.color), Zone: time.Local}
	_, err := io.WriteString(s.out, v.Text(h))
	return err
}

// printHealth prints the health for programs, or adds it to those of other machines. Fields that are
// false or empty are there too.
func (s *agentSession) printHealth(format string, h *agentpb.GetHealthResponse) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(h)
	switch {
	case err != nil:
		return err
	case s.joined != nil:
		s.joined.health = raw
		return nil
	case format == outputJSON:
		return writeJSON(s.out, json.RawMessage(raw), "  ")
	}
	text, err := yamlOfJSON(json.RawMessage(raw))
	if err != nil {
		return err
	}
	_, err = s.out.Write(text)
	return err
}

// terminalWidth returns the width of a terminal in columns; 0 for what is none.
func terminalWidth(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}
