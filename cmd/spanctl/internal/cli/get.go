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
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/reconciler/resource"
)

func newGet(s *settings) *cobra.Command {
	var output string
	var watch, reveal bool
	cmd := &cobra.Command{
		Use:   "get RESOURCE [ID]",
		Short: "Show what the agent knows and does",
		Long: `Show resources of the agent. There are:

` + resourceHelp() + `
-o yaml and -o json show the whole of each, with "(hidden)" in place of secrets; root may
have them shown with --show-secrets. -w shows changes as they come.`,
		Example:           "  spanctl get kubespanpeerstatuses -w\n  spanctl get members\n  spanctl get kubespanidentities -o yaml",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeResource,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", output, outputTable, outputYAML, outputJSON); err != nil {
				return err
			}
			client, err := s.agent(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			request := &agentpb.ListRequest{Type: args[0], Reveal: reveal}
			if len(args) > 1 {
				request.Id = args[1]
			}
			printer := &printer{out: cmd.OutOrStdout(), output: output, watch: watch, table: newTable(cmd)}
			if watch {
				return follow(cmd.Context(), client, request, printer)
			}
			return list(cmd.Context(), client, request, printer)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", outputTable, "output format: table, yaml or json")
	cmd.Flags().BoolVar(&reveal, "show-secrets", false, "show secrets too, which is for root alone")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show changes as they come")
	return aboutTable(cmd)
}

// resourceHelp lists the names of the resources.
func resourceHelp() string {
	var b strings.Builder
	for _, t := range resource.Types {
		fmt.Fprintf(&b, "  %s\n", strings.Join(t.Aliases, ", "))
	}
	return b.String()
}

func list(ctx context.Context, client agentpbconnect.AgentServiceClient, request *agentpb.ListRequest, p *printer) error {
	response, err := client.List(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	p.head(response.Msg.GetTable())
	events := make([]*agentpb.Event, 0, len(response.Msg.GetResources()))
	for _, r := range response.Msg.GetResources() {
		events = append(events, &agentpb.Event{Resource: r})
	}
	return p.events(events)
}

func follow(ctx context.Context, client agentpbconnect.AgentServiceClient, request *agentpb.ListRequest, p *printer) error {
	stream, err := client.Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{
		Type: request.GetType(), Id: request.GetId(), Reveal: request.GetReveal(),
	}))
	if err != nil {
		return err
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
		return nil // the user had enough
	}
	return stream.Err()
}

// printer prints resources in the format that the user chose.
type printer struct {
	out    io.Writer
	output string
	watch  bool
	table  table
	// headings wait for the first rows, which tell how wide the columns are.
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

// document prints a resource whole. A watch's documents say what happened.
func (p *printer) document(e *agentpb.Event) error {
	resource := proto.CloneOf(e.GetResource())
	resource.Row = nil
	var shown proto.Message = resource
	if p.watch {
		shown = &agentpb.Event{Resource: resource, Deleted: e.GetDeleted()}
	}
	encode := jsonOf
	if p.output == outputYAML {
		encode = yamlOf
		if p.printed {
			if _, err := fmt.Fprintln(p.out, "---"); err != nil {
				return err
			}
		}
	}
	p.printed = true
	text, err := encode(shown)
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}
