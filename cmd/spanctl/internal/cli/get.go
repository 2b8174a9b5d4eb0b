package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// getOptions are the flags of `spanctl get`.
type getOptions struct {
	output, sortBy           string
	watch, reveal, noHeading bool
}

func newGet(g *globals) *cobra.Command {
	o := &getOptions{}
	cmd := agentCommand(g, oneTable, &cobra.Command{
		Use:   "get RESOURCE [ID or name]",
		Short: "Show the agent's resources",
		Long: `Show resources of the agent: all of a type, or the one with an ID or with a name
that no other has. The types, with their short names:

` + resourceHelp() + `
` + outputHelp + `
  -o wg              of peers, what "wg show kubespan dump" prints, for scripts

-w shows changes as they come. Secrets are "(hidden)"; root may have them shown with
--show-secrets. Without an agent there is the config alone, and the exit status of the rest is 3, as
it is where the agent does not answer.`,
		Example: `  spanctl get peers -w
  spanctl get peers db1 -o yaml
  spanctl get peers --sort-by receiveBytes -o wide
  spanctl get peers -o jsonpath='$.items[?@.spec.state != "up"].spec.label'`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: g.completeResource,
	}, o.run)
	outputFlag(cmd, &o.output, outputWG)
	cmd.Flags().StringVar(&o.sortBy, "sort-by", "", "field or heading to sort by, such as receiveBytes, or a JSONPath")
	cmd.Flags().BoolVar(&o.noHeading, noHeadersFlag, false, "leave out the headings of tables")
	cmd.Flags().BoolVar(&o.reveal, "show-secrets", false, "show secrets too, which is for root alone")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show changes as they come")
	_ = cmd.RegisterFlagCompletionFunc("sort-by", completeFields) // the flag is there
	return cmd
}

// noHeadersFlag is the flag that leaves out headings.
const noHeadersFlag = "no-headers"

func (o *getOptions) run(ctx context.Context, s *agentSession, args []string) error {
	f, err := parseFormat(o.output, outputWG)
	if err != nil {
		return err
	}
	sorter, err := parseSort(o.sortBy, args[0])
	if err != nil {
		return err
	}
	if o.watch && (f.name == outputWG || o.sortBy != "") {
		return errors.New("-w shows changes as they come: they are neither sorted nor a dump; leave out -w")
	}
	id := ""
	if len(args) > 1 {
		id = args[1]
	}
	p := s.printer(f, o.watch)
	p.noHeadings = o.noHeading
	if o.watch {
		return watchResources(ctx, s, &agentpb.WatchRequest{Type: args[0], Id: id, Reveal: o.reveal}, p)
	}
	response, err := call(ctx, s.List, &agentpb.ListRequest{Type: args[0], Id: id, Reveal: o.reveal})
	if err != nil {
		return noAgentStatus(err)
	}
	if err := sorter.sort(response.GetResources()); err != nil {
		return err
	}
	if f.name == outputWG {
		return o.dump(ctx, s, args[0], response.GetResources())
	}
	p.head(response.GetTable())
	return p.list(response.GetResources(), id != "")
}

// resourceHelp lists the types with all their names.
func resourceHelp() string {
	var b strings.Builder
	for _, t := range resource.Types {
		fmt.Fprintf(&b, "  %s\n", strings.Join(t.Aliases, ", "))
	}
	return b.String()
}

func watchResources(ctx context.Context, s *agentSession, request *agentpb.WatchRequest, p *printer) error {
	stream, err := s.Watch(ctx, connect.NewRequest(request))
	if err != nil {
		return noAgentStatus(callError(err))
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if t := stream.Msg().GetTable(); t != nil {
			p.head(t)
		}
		if err := p.events(stream.Msg().GetEvents()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // the user interrupted it
	}
	return noAgentStatus(callError(stream.Err()))
}

// noAgentStatus gives the error of a call that needs an agent the exit status that status has.
func noAgentStatus(err error) error {
	if connect.CodeOf(err) == connect.CodeFailedPrecondition {
		return statusError{err, exitNoAnswer}
	}
	return err
}
