package cli

import (
	"io"
	"slices"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// printer prints resources in the format that the user chose.
type printer struct {
	out    io.Writer
	format format
	// watch is set to print changes rather than a list.
	watch bool
	// noHeadings leaves out the headings of tables.
	noHeadings bool
	table      table
	// joined takes what several machines answer; nil to print it.
	joined *joined
	// headings are printed with the first rows, whose cells set the widths of the columns.
	headings []string
	// wide are the indices of the columns that the table leaves out.
	wide    []uint32
	printed bool
}

// printer returns the printer of a command, of changes if watch is set.
func (s *agentSession) printer(f format, watch bool) *printer {
	p := &printer{out: s.out, format: f, watch: watch, table: table{out: s.out}, joined: s.joined}
	if !watch {
		p.table = s.table()
	}
	return p
}

// The marks that begin a row when watching, as talosctl has them.
const (
	markHeading = "*"
	markChanged = "+"
	markDeleted = "-"
)

// head prepares to print a table.
func (p *printer) head(t *agentpb.Table) {
	if p.format.name != outputWide {
		p.wide = t.GetWide()
	}
	p.headings = p.narrow(t.GetHeadings())
	if p.watch {
		p.headings = append([]string{markHeading}, p.headings...)
	}
	if p.noHeadings {
		p.headings = nil
	}
}

// narrow returns the cells of a row that the table shows.
func (p *printer) narrow(row []string) []string {
	var shown []string
	for i, cell := range row {
		if !slices.Contains(p.wide, uint32(i)) { //nolint:gosec // an index
			shown = append(shown, cell)
		}
	}
	return shown
}

// list prints resources. One is set for a single one that the user named.
func (p *printer) list(resources []*agentpb.Resource, one bool) error {
	if p.format.isTable() {
		events := make([]*agentpb.Event, len(resources))
		for i, r := range resources {
			events[i] = &agentpb.Event{Resource: r}
		}
		return p.rows(events)
	}
	documents := make([]document, len(resources))
	for i, r := range resources {
		var err error
		if documents[i], err = documentOf(r, p.joined.nodeName()); err != nil {
			return err
		}
	}
	if p.joined != nil {
		p.joined.documents = append(p.joined.documents, documents...)
		return nil
	}
	return p.format.print(p.out, documents, one)
}

// events prints changes.
func (p *printer) events(events []*agentpb.Event) error {
	if p.format.isTable() {
		return p.rows(events)
	}
	for _, e := range events {
		d, err := documentOf(e.GetResource(), p.joined.nodeName())
		if err == nil {
			err = p.change(d, e.GetDeleted())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change prints a change: a line, or in YAML a document.
func (p *printer) change(d document, deleted bool) error {
	switch p.format.name {
	case outputJSON:
		return writeJSON(p.out, changeDocument{d, deleted}, "")
	case outputYAML:
		text, err := yamlOfJSON(changeDocument{d, deleted})
		if err != nil {
			return err
		}
		if p.printed {
			text = append([]byte("---\n"), text...)
		}
		p.printed = true
		_, err = p.out.Write(text)
		return err
	default:
		err := p.format.print(p.out, []document{d}, true)
		if err == nil && p.format.template != nil && !p.format.template.lines {
			_, err = io.WriteString(p.out, "\n")
		}
		return err
	}
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
		row := p.narrow(e.GetResource().GetRow())
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
