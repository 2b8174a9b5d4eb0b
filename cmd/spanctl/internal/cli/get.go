package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
)

// getOptions are the flags of `spanctl get`.
type getOptions struct {
	output        string
	watch, reveal bool
}

func newGet(g *globals) *cobra.Command {
	o := &getOptions{}
	cmd := agentCommand(g, oneTable, &cobra.Command{
		Use:   "get RESOURCE [ID]",
		Short: "Show the agent's resources",
		Long: `Show resources of the agent. There are:

` + resourceHelp() + `
-o yaml and -o json show the whole of each, with "(hidden)" in place of secrets; root may
have them shown with --show-secrets. -w shows changes as they come. Without an agent there
is the config alone.`,
		Example:           "  spanctl get kubespanpeerstatuses -w\n  spanctl get members\n  spanctl get kubespanidentities -o yaml",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: g.completeResource,
	}, o.run)
	outputFlag(cmd, &o.output)
	cmd.Flags().BoolVar(&o.reveal, "show-secrets", false, "show secrets too, which is for root alone")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show changes as they come")
	return cmd
}

// outputFlag adds the flag that picks the format of resources.
func outputFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().StringVarP(p, "output", "o", outputTable, "output format: table, yaml or json")
}

func (o *getOptions) run(ctx context.Context, s *agentSession, args []string) error {
	if err := oneOf("output", o.output, outputTable, outputYAML, outputJSON); err != nil {
		return err
	}
	id := ""
	if len(args) > 1 {
		id = args[1]
	}
	p := &printer{out: s.out, output: o.output, watch: o.watch, table: s.table()}
	if o.watch {
		return watchResources(ctx, s, &agentpb.WatchRequest{Type: args[0], Id: id, Reveal: o.reveal}, p)
	}
	return listResources(ctx, s, &agentpb.ListRequest{Type: args[0], Id: id, Reveal: o.reveal}, p)
}

// resourceHelp lists the names of the resources.
func resourceHelp() string {
	var b strings.Builder
	for _, t := range resource.Types {
		fmt.Fprintf(&b, "  %s\n", strings.Join(t.Aliases, ", "))
	}
	return b.String()
}

func listResources(ctx context.Context, s *agentSession, request *agentpb.ListRequest, p *printer) error {
	response, err := call(ctx, s.List, request)
	if err != nil {
		return err
	}
	p.head(response.GetTable())
	events := make([]*agentpb.Event, 0, len(response.GetResources()))
	for _, r := range response.GetResources() {
		events = append(events, &agentpb.Event{Resource: r})
	}
	return p.events(events)
}

func watchResources(ctx context.Context, s *agentSession, request *agentpb.WatchRequest, p *printer) error {
	stream, err := s.Watch(ctx, connect.NewRequest(request))
	if err != nil {
		return callError(err)
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
	return callError(stream.Err())
}

// printer prints resources in the format that the user chose.
type printer struct {
	out    io.Writer
	output string
	watch  bool
	table  table
	// headings are printed with the first rows, whose cells set the widths of the columns.
	headings []string
	printed  bool
}

// The marks that begin a row when watching, as talosctl has them.
const (
	markHeading = "*"
	markChanged = "+"
	markDeleted = "-"
)

func (p *printer) head(t *agentpb.Table) {
	p.headings = t.GetHeadings()
	if p.watch {
		p.headings = append([]string{markHeading}, p.headings...)
	}
}

func (p *printer) events(events []*agentpb.Event) error {
	if p.output == outputTable {
		return p.rows(events)
	}
	for _, e := range events {
		if err := p.document(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) rows(events []*agentpb.Event) error {
	if p.watch && len(events) == 0 {
		return nil // the headings wait for rows to be aligned with
	}
	var rows [][]string
	if p.headings != nil {
		rows = append(rows, p.headings)
		p.headings = nil
	}
	for _, e := range events {
		row := e.GetResource().GetRow()
		if p.watch {
			mark := markChanged
			if e.GetDeleted() {
				mark = markDeleted
			}
			row = append([]string{mark}, row...)
		}
		rows = append(rows, row)
	}
	return p.table.print(rows...)
}

// document prints the whole of a resource. When watching it prints the event.
func (p *printer) document(e *agentpb.Event) error {
	resource := proto.CloneOf(e.GetResource())
	resource.Row = nil
	var shown proto.Message = resource
	if p.watch {
		shown = &agentpb.Event{Resource: resource, Deleted: e.GetDeleted()}
	}
	if p.output == outputJSON {
		return printJSON(p.out, shown)
	}
	text, err := yamlOf(shown)
	if err != nil {
		return err
	}
	if p.printed {
		text = append([]byte("---\n"), text...)
	}
	p.printed = true
	_, err = p.out.Write(text)
	return err
}
