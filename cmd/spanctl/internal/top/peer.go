package top

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
)

// chartHeight is that of the history of a peer, in lines.
const chartHeight = 5

// peerScreen has the chosen peer.
func (m *Model) peerScreen() []string {
	d := m.data()
	p := byKey(d.health.GetPeers())[m.cursor]
	if p == nil {
		return []string{"the peer is no longer there"}
	}
	h := d.health
	lines := append([]string{m.heading(terminal.Plain("PEER " + p.GetName()))}, m.facts(p)...)
	lines = append(lines, m.endpoints(p)...)
	lines = append(append(lines, "", m.heading("ROUND-TRIP TIME")), m.chart(d.trends[m.cursor])...)
	lines = append(lines, "", m.heading("CONDITIONS"))
	found := about(h, p.GetName())
	for _, c := range found {
		lines = append(lines, m.view.Condition(c, h.GetTime().AsTime())...)
	}
	if len(found) == 0 {
		lines = append(lines, "nothing is wrong with it")
	}
	lines = append(lines, "", m.heading("EVENTS"))
	var its []Event
	for _, e := range d.events {
		if e.Object == p.GetName() {
			its = append(its, e)
		}
	}
	if len(its) == 0 {
		return append(lines, "none of it")
	}
	return append(lines, m.eventsText(its)...)
}

// facts returns lines about a peer.
func (m *Model) facts(p *agentpb.Peer) []string {
	d := m.data()
	row := healthtext.PeerRows([]*agentpb.Peer{p}, d.health.GetTime().AsTime())[0]
	traffic := func(total string, a float64, known bool) string {
		if !known {
			return total
		}
		return total + ", " + human.Bytes(int64(a)) + "/s"
	}
	r := d.rates[p.GetPublicKey()]
	facts := [][2]string{
		{"state", row[healthtext.ColumnState]},
		{"path", row[healthtext.ColumnPath]},
		{"RTT", row[healthtext.ColumnRTT] + ", loss " + row[healthtext.ColumnLoss]},
		{"handshake", row[healthtext.ColumnHandshake]},
		{"received", traffic(row[healthtext.ColumnRX], r.received, r.known)},
		{"sent", traffic(row[healthtext.ColumnTX], r.sent, r.known)},
		{"key", p.GetPublicKey()},
	}
	if why := p.GetNotDirect(); why != "" {
		facts = append(facts, [2]string{"no direct", why})
	}
	if a := m.details; a != nil && a.Err == nil {
		facts = append(facts, [2]string{"address", cmp.Or(a.Details.Address, "-")}, [2]string{"node ID", cmp.Or(a.Details.NodeID, "-")})
		if !a.Details.Moved.IsZero() {
			facts = append(facts, [2]string{"moved", human.Duration(d.health.GetTime().AsTime().Sub(a.Details.Moved)) + " ago, to this path"})
		}
	}
	lines := make([]string, len(facts))
	for i, f := range facts {
		lines[i] = fmt.Sprintf("%-9s  %s", f[0], terminal.Plain(f[1]))
	}
	return lines
}

// endpoints returns lines about where a peer may be reached.
func (m *Model) endpoints(p *agentpb.Peer) []string {
	lines := []string{"", m.heading("ENDPOINTS")}
	a := m.details
	switch {
	case a == nil:
		return append(lines, "…")
	case a.Err != nil:
		return append(lines, m.paragraphs(a.Err.Error())...)
	case len(a.Details.Endpoints)+len(a.Details.Refused) == 0:
		return append(lines, "none: it has to call")
	}
	for _, e := range a.Details.Endpoints {
		before := noMark
		if e == p.GetPath() {
			before = mark
		}
		lines = append(lines, before+terminal.Plain(e))
	}
	for _, e := range a.Details.Refused {
		lines = append(lines, noMark+"not tried: "+terminal.Plain(e))
	}
	return lines
}

// chart returns the trend of a peer as lines of equal height, with the times at the left.
func (m *Model) chart(t *trend) []string {
	const labels = 8
	width := max(m.view.Width-labels, 1)
	if t == nil || len(known(t.buckets)) == 0 {
		return []string{"no echo was answered in the last hour"}
	}
	shown := t.buckets[max(len(t.buckets)-width, 0):]
	full := scale(shown)
	lines := make([]string, chartHeight)
	for i := range lines {
		label := ""
		switch i {
		case 0:
			label = seconds(full)
		case chartHeight - 1:
			label = "0"
		}
		bottom := float64(chartHeight - 1 - i)
		var b strings.Builder
		for _, one := range shown {
			b.WriteString(m.chartCell(one, one.rtt/full*chartHeight-bottom, i == chartHeight-1))
		}
		lines[i] = fmt.Sprintf("%*s ", labels-1, label) + strings.TrimRight(b.String(), " ")
	}
	return lines
}

// chartCell returns a cell of a chart, which is filled to a height: 1 is all of it.
func (m *Model) chartCell(b bucket, height float64, lowest bool) string {
	switch {
	case lowest && b.down:
		return signDown
	case lowest && b.rtt == 0 && b.up:
		return signNoRTT
	case b.down, b.rtt == 0, height <= 0 && !lowest:
		return signUnknown
	default:
		return string(level(height))
	}
}
