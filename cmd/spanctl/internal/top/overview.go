package top

import (
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
)

const (
	// wholeHead is the height in lines from which the overview has all lines about the machine.
	wholeHead = 16
	// minEvents is the height of what is left for peers and events, from which there are events.
	minEvents = 9
	// fewEvents are the lines of the events where there are many peers, with the heading.
	fewEvents = 4
	// mark is before the chosen peer, and as wide before the others.
	mark, noMark = "> ", "  "
)

// The widths of the column of trends. Other columns take restWidth of the terminal.
const (
	minTrend  = 6
	maxTrend  = 40
	restWidth = 74
)

// overview returns the lines of the overview, no more than height.
func (m *Model) overview(height int) []string {
	lines := m.head()
	if height < wholeHead {
		lines = lines[:1]
	}
	lines = append(lines, m.conditionLines((height-len(lines))/2)...)
	space := height - len(lines)
	rows := m.peers()
	shownEvents := m.eventLines()
	forEvents := 0
	if space >= minEvents && len(shownEvents) > 0 {
		forEvents = min(fewEvents, len(shownEvents)+1)
	}
	table := m.table(rows, space-forEvents)
	lines = append(lines, table...)
	if forEvents > 0 {
		shownEvents = shownEvents[:min(len(shownEvents), space-len(table)-1)]
		lines = append(append(lines, m.heading("EVENTS")), shownEvents...)
	}
	return lines
}

// columns returns the columns of the table of peers: those of status, with the trend, and with the
// traffic a second.
func columns() []healthtext.Column {
	c := healthtext.PeerColumns()
	return []healthtext.Column{c[healthtext.ColumnPeer], c[healthtext.ColumnState], c[healthtext.ColumnPath], c[healthtext.ColumnRTT],
		{Heading: "TREND"}, c[healthtext.ColumnLoss], c[healthtext.ColumnHandshake], {Heading: "RX/s"}, {Heading: "TX/s"}}
}

// rows returns the rows of peers under columns.
func (m *Model) rows(peers []*agentpb.Peer, now time.Time) [][]string {
	d := m.data()
	width := min(max(m.view.Width-restWidth, minTrend), maxTrend)
	rows := healthtext.PeerRows(peers, now)
	for i, c := range rows {
		key := peers[i].GetPublicKey()
		received, sent := "-", "-"
		if r := d.rates[key]; r.known {
			received, sent = human.Bytes(int64(r.received)), human.Bytes(int64(r.sent))
		}
		rows[i] = []string{c[healthtext.ColumnPeer], c[healthtext.ColumnState], c[healthtext.ColumnPath], c[healthtext.ColumnRTT],
			d.trends[key].line(width), c[healthtext.ColumnLoss], c[healthtext.ColumnHandshake], received, sent}
	}
	return rows
}

// table returns the table of peers, no higher than space, with the chosen one in it.
func (m *Model) table(peers []*agentpb.Peer, space int) []string {
	h := m.data().health
	switch {
	case space <= 0:
		return nil
	case len(peers) == 0 && len(h.GetPeers()) > 0:
		return []string{"no peer is like the filter: esc clears it"}
	case len(peers) == 0:
		return []string{"no peers"}
	}
	v, all := m.narrow(len(mark)), columns()
	rows := m.rows(peers, h.GetTime().AsTime())
	widths := v.Fit(all, rows)
	lines := []string{m.heading(noMark + v.Headings(all, widths))}
	chosen, visible := m.chosen(peers), max(space-1, 0)
	first := max(min(chosen-visible/2, len(rows)-visible), 0)
	for i, row := range rows[first:min(first+visible, len(rows))] {
		before := noMark
		if first+i == chosen {
			before = m.paint(terminal.Bold, mark)
		}
		lines = append(lines, before+v.Row(all, widths, row))
	}
	return lines
}
