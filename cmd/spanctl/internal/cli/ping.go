package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// pingOptions are the flags of `spanctl ping`.
type pingOptions struct {
	count          uint32
	interval, wait time.Duration
	mtu            bool
}

func newPing(g *globals) *cobra.Command {
	o := &pingOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "ping PEER",
		Short: "Send echoes to a peer through the mesh",
		Long: `Send ICMPv6 echoes to a peer through the mesh, whatever the routes and rules of this machine
are, and print the round-trip time and the way of each. The peer is named by its host name, its
name in the mesh, its node ID, its public key or its address in the mesh.

--mtu finds the largest packet that passes. Where large packets are lost, and small ones are not,
connections open and then stand still; a smaller ` + "`mtu`" + ` in the config of both machines mends it.

The exit status is 0 if the peer has answered, 1 if not, and 3 without an agent, or if an
argument is not valid.`,
		Example: `  spanctl ping db1
  spanctl ping db1.span.internal --mtu
  spanctl ping fd89:33b8::8c41 -c 100 -i 200ms`,
		Args: cobra.ExactArgs(1),
	}, o.run)
	cmd.Flags().Uint32VarP(&o.count, "count", "c", 4, "how many echoes to send, at most 3600")
	cmd.Flags().DurationVarP(&o.interval, "interval", "i", time.Second, "time from one echo to the next, at least 200ms")
	cmd.Flags().DurationVarP(&o.wait, "wait", "W", 2*time.Second, "how long each answer is waited for")
	cmd.Flags().BoolVar(&o.mtu, "mtu", false, "find the largest packet that passes")
	cmd.MarkFlagsMutuallyExclusive("mtu", "count")
	cmd.MarkFlagsMutuallyExclusive("mtu", "interval")
	cmd.ValidArgsFunction = g.completePeer
	withUsageStatus(cmd, exitNoAnswer)
	return cmd
}

func (o *pingOptions) run(ctx context.Context, s *agentSession, args []string) error {
	if o.count == 0 {
		return usageError{errors.New("--count is 0: want at least 1")}
	}
	stream, err := s.Ping(ctx, connect.NewRequest(&agentpb.PingRequest{Peer: args[0], Count: o.count,
		Interval: durationpb.New(o.interval), Wait: durationpb.New(o.wait), Mtu: o.mtu}))
	if err != nil {
		return s.agentError(callError(err))
	}
	defer func() { _ = stream.Close() }()
	var tally pingTally
	for stream.Receive() {
		if response := stream.Msg(); response.GetPathMtu() != nil {
			return printPathMTU(s, response)
		} else if err := s.say(tally.add(response)); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil && (tally.sent == 0 || ctx.Err() == nil) {
		return s.agentError(callError(err))
	}
	return tally.print(s.out)
}

// agentError gives an error the exit status for a missing agent, unless an agent has answered so.
func (c *connector) agentError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, answered := errors.AsType[answerError](err); answered && c.local == nil {
		return err
	}
	return statusError{err, exitNoAnswer}
}

// pingTally is what became of the echoes of a call.
type pingTally struct {
	peer           string
	sent, answered int
	least, most    time.Duration
	sum            time.Duration
	// timed counts the answers whose time is known.
	timed int
}

// add counts an echo, and returns a line about it.
func (t *pingTally) add(p *agentpb.PingResponse) string {
	t.peer = p.GetPeer()
	t.sent++
	way := p.GetEndpoint()
	if p.GetRelay() != "" {
		way = "relay " + p.GetRelay()
	} else if p.GetBlindRelay() != "" {
		way = "blind relay " + p.GetBlindRelay()
		if p.GetOverTcp() {
			way += " over TCP"
		}
	}
	if way != "" {
		way = " via " + way
	}
	switch {
	case p.GetError() != "":
		return fmt.Sprintf("%s: not sent%s: %s", t.peer, way, p.GetError())
	case p.Rtt == nil:
		return fmt.Sprintf("%s: no answer%s", t.peer, way)
	}
	t.answered++
	rtt := p.GetRtt().AsDuration()
	if rtt == 0 {
		return fmt.Sprintf("%s: answered%s", t.peer, way) // the clock was set meanwhile
	}
	if t.timed == 0 || rtt < t.least {
		t.least = rtt
	}
	t.timed++
	t.most, t.sum = max(t.most, rtt), t.sum+rtt
	return fmt.Sprintf("%s: %s%s", t.peer, milliseconds(rtt), way)
}

// print prints the sums. Without an answer it fails.
func (t *pingTally) print(out io.Writer) error {
	line := fmt.Sprintf("%d sent, %d lost", t.sent, t.sent-t.answered)
	if t.timed > 0 {
		line += fmt.Sprintf(", min/avg/max %s/%s/%s", milliseconds(t.least), milliseconds(t.sum/time.Duration(t.timed)), milliseconds(t.most))
	}
	if _, err := fmt.Fprintln(out, line); err != nil {
		return err
	}
	if t.answered == 0 {
		return exitStatus(exitError)
	}
	return nil
}

// milliseconds returns a time in milliseconds with three digits, such as "11.2 ms".
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	digits := 2
	for limit := 10.0; digits > 0 && ms >= limit; limit *= 10 {
		digits--
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}

// printPathMTU prints which packets pass, and what to set.
func printPathMTU(s *agentSession, p *agentpb.PingResponse) error {
	m := p.GetPathMtu()
	var line string
	var failure error
	switch {
	case !m.GetAnswers():
		line, failure = "no answer", exitStatus(exitError)
	case m.GetPasses() == m.GetFull():
		line = fmt.Sprintf("%d bytes pass, the mtu of the mesh's link", m.GetFull())
	case m.GetPasses() == 0:
		line = fmt.Sprintf("%d bytes are lost, and so are 1280, the least that IPv6 allows: "+
			"a network on the way must pass larger packets of UDP, or their fragments", m.GetFull())
	default:
		line = fmt.Sprintf("%d bytes are lost, %d pass: set mtu: %d here and at %s", m.GetFull(), m.GetPasses(), m.GetPasses(), p.GetPeer())
	}
	return errors.Join(s.say(p.GetPeer()+": "+line), failure)
}
