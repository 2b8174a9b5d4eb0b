package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/top"
)

// topOptions are the flags of `spanctl top`.
type topOptions struct{ color string }

func newTop(g *globals) *cobra.Command {
	o := &topOptions{}
	cmd := agentCommand(g, oneNode, &cobra.Command{
		Use:   "top",
		Short: "Watch the mesh: what is wrong, the peers, the events",
		Long: `Show on the whole terminal what is wrong with the mesh of this machine, its peers with their
round-trip times, and what happens, while it changes. It changes nothing.

  up, down, enter   choose a peer, and show it: endpoints, history, conditions, events
  /                 show only what has a text in it
  s                 sort by name, state, RTT, loss, traffic or handshake
  c e m d           conditions with cause and remedy, events, the machine, the diff
  p                 pause
  ?                 all keys and signs
  q                 quit

Where no agent runs it says so, and goes on once one does. Scripts use ` + "`spanctl status`" + `,
` + "`spanctl wait`" + ` and ` + "`spanctl get peers -w`" + `.`,
		Example: "  spanctl top\n  spanctl top --host root@web1",
		Args:    cobra.NoArgs,
	}, o.run)
	cmd.Flags().StringVar(&o.color, "color", colorAuto, "colours: auto, always or never [$NO_COLOR]")
	withUsageStatus(cmd, exitNoAnswer)
	return cmd
}

func (o *topOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	if err := errors.Join(oneOf("color", o.color, colorAuto, colorAlways, colorNever), checkScreen(s.streams)); err != nil {
		return statusError{err, exitNoAnswer}
	}
	s.logTo = io.Discard // the screen says what is wrong
	// ssh may ask for a password now, and not while the screen is drawn.
	first, err := s.health(ctx, answerTimeout)
	if err != nil {
		return statusError{err, exitNoAnswer}
	}
	s.detached = true
	options := top.Options{Color: wantsColor(s.out, o.color), Zone: time.Local, Remote: s.host != ""}
	return top.Run(ctx, s.in, s.out, &topSource{session: s, color: options.Color}, options, first)
}

// checkScreen returns why a screen cannot be drawn.
func checkScreen(s streams) error {
	const instead = ": for a script, use `spanctl status`, `spanctl wait` or `spanctl get peers -w`"
	switch {
	case !isTerminal(s.out):
		return errors.New("the output is no terminal" + instead)
	case !isTerminal(s.in):
		return errors.New("the input is no terminal, so that no key can be pressed" + instead)
	case os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "":
		return fmt.Errorf("the terminal cannot be drawn on: TERM is %q%s", os.Getenv("TERM"), strings.Replace(instead, "for a script, ", "", 1))
	default:
		return nil
	}
}
