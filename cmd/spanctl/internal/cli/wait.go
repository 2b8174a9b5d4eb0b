package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/retry"
)

// waitOptions are the flags of `spanctl wait`.
type waitOptions struct {
	until   string
	timeout time.Duration
}

func newWait(g *globals) *cobra.Command {
	o := &waitOptions{}
	cmd := agentCommand(g, eachNode, &cobra.Command{
		Use:   "wait --for STATE",
		Short: "Wait until the mesh is as asked for",
		Long: `Wait until the mesh is as --for says, for scripts:

  ready                   it carries traffic
  healthy                 there is neither an error nor a warning
  peers=N                 at least N peers are up
  peer=NAME               the peer with this host name, name in the mesh, node ID, public key or
                          address in the mesh is up
  condition=CODE          there is the condition, whatever it is about
  condition=CODE=false    there is not

Where no agent runs, it waits for one.

The exit status is
  0   it is so
  1   --timeout ran out; the present state is printed
  3   no agent runs, or it does not answer, or an argument is not valid`,
		Example: "  spanctl wait --for ready\n  spanctl wait --for peers=2 --timeout 5m\n  spanctl wait --for condition=DiscoveryUnreachable=false",
		Args:    cobra.NoArgs,
	}, o.run)
	cmd.Flags().StringVar(&o.until, "for", "", "what to wait for")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
	withUsageStatus(cmd, exitNoAnswer)
	return cmd
}

// agentRetry and agentRetryMax are the first and the longest pause before an agent is looked for
// again.
const (
	agentRetry    = 100 * time.Millisecond
	agentRetryMax = time.Second
)

// goal is what `spanctl wait` waits for.
type goal struct {
	// resource is the type of resources that decide.
	resource string
	// holds reports whether the goal is reached, and what is so, by the specs of all resources.
	holds func(specs map[string]map[string]any) (reached bool, is string)
	// named returns the goal of the peer with a key, where the goal is one of a peer; nil for others.
	named func(key string) goal
	// peer is what that peer is called.
	peer string
}

// goalOf returns the goal that --for names.
func goalOf(text string) (goal, error) {
	kind, value, valued := strings.Cut(text, "=")
	switch {
	case text == string(health.Healthy):
		return stateGoal(func(s map[string]any) bool { return s["state"] == string(health.Healthy) }), nil
	case text == "ready":
		return stateGoal(func(s map[string]any) bool { return s["ready"] == true }), nil
	case kind == "peers" && valued:
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return goal{}, fmt.Errorf("--for is %q: want a number of peers, as in peers=2", text)
		}
		return peersGoal(int(n)), nil
	case kind == "peer" && value != "":
		g := peerGoal(value, value)
		g.peer, g.named = value, func(key string) goal { return peerGoal(key, value) }
		return g, nil
	case kind == "condition" && value != "":
		return conditionGoal(value)
	default:
		return goal{}, fmt.Errorf("--for is %q: want ready, healthy, peers=N, peer=NAME, condition=CODE or condition=CODE=false", text)
	}
}

func stateGoal(reached func(spec map[string]any) bool) goal {
	return goal{resource: "health", holds: func(specs map[string]map[string]any) (bool, string) {
		spec := specs["machine"]
		if spec == nil {
			return false, ""
		}
		return reached(spec), ""
	}}
}

// isUp reports whether a peer's status is up.
func isUp(spec map[string]any) bool { return spec["state"] == "up" }

func peersGoal(n int) goal {
	return goal{resource: "kubespanpeerstatuses", holds: func(specs map[string]map[string]any) (bool, string) {
		var down []string
		for id, spec := range specs {
			if !isUp(spec) {
				down = append(down, nameOf(id, spec))
			}
		}
		slices.Sort(down)
		is := fmt.Sprintf("%d of %s up", len(specs)-len(down), human.Count(len(specs), "peer"))
		if len(down) > healthtext.MaxConditions {
			down = append(down[:healthtext.MaxConditions], fmt.Sprintf("%d more", len(down)-healthtext.MaxConditions))
		}
		if len(down) > 0 {
			is += "; not up: " + strings.Join(down, ", ")
		}
		return up(specs) >= n, is
	}}
}

// up returns how many peers are up.
func up(specs map[string]map[string]any) (n int) {
	for _, spec := range specs {
		if isUp(spec) {
			n++
		}
	}
	return n
}

// nameOf returns the name of a peer, or else its public key.
func nameOf(id string, spec map[string]any) string {
	return cmp.Or(textOf(spec, "name"), id)
}

func textOf(spec map[string]any, field string) string {
	text, _ := spec[field].(string)
	return text
}

// peerGoal returns the goal of the peer that a word means. Called is what it is called in messages.
func peerGoal(word, called string) goal {
	return goal{resource: "kubespanpeerstatuses", holds: func(specs map[string]map[string]any) (bool, string) {
		found := resource.FindPeers(word, slices.Sorted(maps.Keys(specs)), func(id string) resource.PeerWords {
			spec := specs[id]
			address, _ := netip.ParseAddr(textOf(spec, "address")) // invalid for none
			return resource.PeerWords{Key: id, NodeID: textOf(spec, "nodeID"), Label: textOf(spec, "label"), Name: textOf(spec, "name"), Addresses: []netip.Addr{address}}
		})
		switch len(found) {
		case 0:
			return false, called + " is no peer"
		case 1:
			spec := specs[found[0]]
			return isUp(spec), fmt.Sprint(called, " is ", spec["state"])
		default:
			return false, fmt.Sprintf("%d peers are called %s: name one by its key", len(found), called)
		}
	}}
}

// conditionGoal returns the goal of CODE, CODE=true or CODE=false.
func conditionGoal(text string) (goal, error) {
	code, want, valued := strings.Cut(text, "=")
	if valued && want != "true" && want != "false" {
		return goal{}, fmt.Errorf("--for is %q: want condition=%s or condition=%s=false", "condition="+text, code, code)
	}
	known := condition.Definitions()
	if !slices.ContainsFunc(known, func(d condition.Definition) bool { return string(d.Code) == code }) {
		return goal{}, fmt.Errorf("%q is no condition: `spanctl explain` lists them", code)
	}
	return goal{resource: "conditions", holds: func(specs map[string]map[string]any) (bool, string) {
		var found []string
		for _, spec := range specs {
			if spec["code"] == code {
				subject, _ := spec["subject"].(string)
				found = append(found, strings.TrimSpace(code+" "+subject))
			}
		}
		slices.Sort(found)
		if len(found) == 0 {
			return want == "false", "there is no " + code
		}
		return want != "false", "there is " + strings.Join(found, ", ")
	}}, nil
}

func (o *waitOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	g, err := goalOf(o.until)
	if err != nil {
		return usageError{err}
	}
	return o.reach(ctx, s, g)
}

// reach waits until a goal is reached.
func (o *waitOptions) reach(ctx context.Context, s *agentSession, g goal) error {
	within, stop := context.WithTimeout(ctx, o.timeout)
	defer stop()
	var last outcome
	err := retry.Do(within, retry.New(agentRetry, agentRetryMax), s.noteWaiting(), func(ctx context.Context) error {
		answered, is, err := s.await(ctx, g)
		code := connect.CodeOf(err)
		last = outcome{answered, isLate(ctx, err) && code != connect.CodeFailedPrecondition, is}
		if err == nil || last.late || !answered && code != connect.CodeFailedPrecondition && code != connect.CodeUnavailable {
			return permanent(err)
		}
		last = outcome{}
		s.http.CloseIdleConnections() // without an agent, they are to this process
		return errors.New("no agent answers")
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return statusError{ctx.Err(), exitNoAnswer}
	case last.late || within.Err() != nil:
		return o.late(ctx, s, last)
	default:
		return statusError{err, exitNoAnswer}
	}
}

// permanent returns an error that is not tried again; nil for nil.
func permanent(err error) error {
	if err == nil {
		return nil
	}
	return retry.Permanent(err)
}

// outcome is what came of a watch that ended before its goal was reached.
type outcome struct {
	// answered is set where the agent has answered, late where the time was up.
	answered, late bool
	// is says what was so.
	is string
}

// late is the error of a goal that was not reached in time.
func (o *waitOptions) late(ctx context.Context, s *agentSession, last outcome) error {
	if last.late && !last.answered && s.isAgents() {
		return s.noAnswer(o.timeout)
	}
	h, err := s.health(ctx, answerTimeout)
	switch {
	case err == nil && agent.IsAbsent(h):
		return statusError{noAgentError(h), exitNoAnswer}
	case err == nil:
		last.is = strings.TrimPrefix(last.is+"; "+reasonText(h), "; ")
	case !last.answered:
		return statusError{err, exitNoAnswer}
	}
	return fmt.Errorf("timed out after %v: %s", o.timeout, plain(last.is))
}

// noteWaiting returns what says, the first time that it is called, what is waited for.
func (s *agentSession) noteWaiting() retry.Notify {
	var once sync.Once
	return func(err error, _ time.Duration) {
		once.Do(func() { s.note(fmt.Sprintf("spanctl: %v: waiting for one", err)) })
	}
}

// await watches until a goal is reached, and returns nil then. Else it returns whether the agent
// has answered, and what is so.
func (s *agentSession) await(ctx context.Context, g goal) (answered bool, is string, err error) {
	stream, err := s.Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: g.resource}))
	if err != nil {
		return false, "", callError(err)
	}
	defer func() { _ = stream.Close() }()
	specs := map[string]map[string]any{}
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			id := e.GetResource().GetMetadata().GetId()
			if e.GetDeleted() {
				delete(specs, id)
				continue
			}
			specs[id] = e.GetResource().GetSpec().AsMap()
		}
		reached, now := g.holds(specs)
		if key := s.keyOf(ctx, g); !reached && key != "" {
			reached, now = g.named(key).holds(specs)
		}
		if reached {
			return true, now, nil
		}
		answered, is = true, now
	}
	err = stream.Err()
	if err == nil {
		err = errors.New("the agent stopped")
	}
	return answered, is, callError(err)
}

// keyOf returns the public key of the machine whose name in the mesh is that of a goal's peer; "" for none.
func (s *agentSession) keyOf(ctx context.Context, g goal) string {
	if g.named == nil || !strings.Contains(g.peer, ".") {
		return ""
	}
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: resource.MeshNames.Aliases[0], Id: g.peer})
	if err != nil || len(response.GetResources()) != 1 {
		return "" // it has no such name, or not yet
	}
	return textOf(response.GetResources()[0].GetSpec().AsMap(), "publicKey")
}
