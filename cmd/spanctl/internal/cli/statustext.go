package cli

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/human"
)

const (
	yellow = "\x1b[33m"
	// maxConditions is how many conditions are shown; `spanctl get conditions` has all.
	maxConditions = 8
	// statusGap is the space between two columns.
	statusGap = 2
	// minPath is the width below which the column of the paths does not shrink.
	minPath = 12
)

// statusView is how the health of a machine is shown.
type statusView struct {
	// width is that of the terminal in columns; 0 for any.
	width int
	color bool
	// zone is that of dates.
	zone *time.Location
}

// text returns the health of a machine for people.
func (v statusView) text(h *agentpb.GetHealthResponse) string {
	var b strings.Builder
	now := h.GetTime().AsTime()
	head := [][2]string{{cmp.Or(h.GetHostname(), "state"), v.state(h)}}
	if m := h.GetMesh(); m != nil {
		head = append(head, [2]string{"mesh", fmt.Sprintf("%s %s, UDP %d, MTU %d, %s", m.GetLink(), m.GetAddress(), m.GetPort(), m.GetMtu(), m.GetWireguard())})
	}
	if c := h.GetCluster(); c != nil {
		head = append(head, [2]string{"cluster", strings.TrimPrefix(c.GetFingerprint()+", "+count(int(c.GetMachines()), "machine"), ", ")})
	}
	for i, s := range h.GetDiscovery() {
		name := "discovery"
		if i > 0 {
			name = ""
		}
		head = append(head, [2]string{name, sessionText(s, now)})
	}
	if c := h.GetConfig(); c != nil {
		since := dateText(c.GetSince().AsTime().In(v.zone), now.In(v.zone))
		head = append(head, [2]string{"config", filepath.Base(c.GetPath()) + " in force since " + since})
	}
	v.head(&b, head)
	v.conditions(&b, h)
	v.peers(&b, h.GetPeers(), now)
	return b.String()
}

// paint colours text.
func (v statusView) paint(color, text string) string {
	if !v.color || color == "" {
		return text
	}
	return color + text + reset
}

// head writes names and what they stand for. The first line is the state, which has its colour.
func (v statusView) head(b *strings.Builder, lines [][2]string) {
	width := len("discovery")
	for i := range lines {
		lines[i][0] = plain(lines[i][0])
		width = max(width, runewidth.StringWidth(lines[i][0]))
	}
	for i, line := range lines {
		text := plain(line[1])
		if i == 0 {
			text = line[1]
		}
		b.WriteString(line[0] + strings.Repeat(" ", width-runewidth.StringWidth(line[0])+statusGap) + text + "\n")
	}
}

// state returns the first line: the state with what is wrong, or with the version.
func (v statusView) state(h *agentpb.GetHealthResponse) string {
	errs, warnings := 0, 0
	for _, c := range h.GetConditions() {
		switch c.GetSeverity() {
		case "error":
			errs++
		case "warning":
			warnings++
		}
	}
	var wrong []string
	if errs > 0 {
		wrong = append(wrong, count(errs, "error"))
	}
	if warnings > 0 {
		wrong = append(wrong, count(warnings, "warning"))
	}
	color := map[health.State]string{health.Healthy: green, health.Starting: yellow, health.Degraded: yellow, health.Broken: red}
	state := v.paint(color[health.State(h.GetState())], plain(h.GetState()))
	if len(wrong) > 0 {
		return state + ": " + strings.Join(wrong, ", ")
	}
	return fmt.Sprintf("%s, %s, up %s", state, plain(h.GetVersion()), human.Duration(h.GetTime().AsTime().Sub(h.GetStarted().AsTime())))
}

// sessionText returns the state of a connection to a registry.
func sessionText(s *agentpb.DiscoverySession, now time.Time) string {
	text := cmp.Or(s.GetEndpoint(), s.GetRegistry()) + " not connected"
	if s.GetConnected() {
		text = cmp.Or(s.GetEndpoint(), s.GetRegistry()) + " connected"
	}
	if s.GetSince() != nil {
		if !s.GetConnected() {
			text += " for"
		}
		text += " " + human.Duration(now.Sub(s.GetSince().AsTime()))
	}
	if s.GetLastHeard() != nil {
		text += ", heard " + human.Duration(now.Sub(s.GetLastHeard().AsTime())) + " ago"
	} else if !s.GetConnected() {
		text += ", never heard"
	}
	if s.GetError() != "" {
		text += ": " + s.GetError()
	}
	return text
}

// conditions writes what is wrong.
func (v statusView) conditions(b *strings.Builder, h *agentpb.GetHealthResponse) {
	shown := h.GetConditions()
	if len(shown) > maxConditions {
		shown = shown[:maxConditions]
	}
	for _, c := range shown {
		mark, color := "i", ""
		switch c.GetSeverity() {
		case "error":
			mark, color = "x", red
		case "warning":
			mark, color = "!", yellow
		}
		title := strings.TrimSpace(plain(c.GetCode() + " " + c.GetSubject()))
		b.WriteString(v.paint(color, mark+" "+title))
		if c.GetSince() != nil {
			b.WriteString(", for " + human.Duration(h.GetTime().AsTime().Sub(c.GetSince().AsTime())))
		}
		b.WriteString("\n")
		v.paragraph(b, sentence(plain(c.GetCause())))
		v.paragraph(b, capitalized(sentence(plain(c.GetRemedy())))+" More: spanctl explain "+plain(c.GetCode()))
	}
	if more := len(h.GetConditions()) - len(shown); more > 0 {
		fmt.Fprintf(b, "… and %d more: spanctl get conditions\n", more)
	}
}

// sentence ends text with a full stop.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// capitalized begins text with a capital letter.
func capitalized(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// paragraph writes text below a mark, in lines that are no wider than the terminal.
func (v statusView) paragraph(b *strings.Builder, text string) {
	const indent = "  "
	used := 0
	for word := range strings.FieldsSeq(text) {
		width := runewidth.StringWidth(word)
		switch {
		case used == 0:
			b.WriteString(indent)
			used = len(indent)
		case v.width > 0 && used+1+width > v.width:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += width
	}
	if used > 0 {
		b.WriteString("\n")
	}
}

var peerHeadings = []string{"PEER", "STATE", "PATH", "RTT", "LOSS", "HANDSHAKE", "RX", "TX"}

// The columns of peerHeadings that are shortened or coloured.
const (
	columnPeer  = 0
	columnState = 1
	columnPath  = 2
)

// peers writes the table of the peers; nothing without one.
func (v statusView) peers(b *strings.Builder, peers []*agentpb.Peer, now time.Time) {
	if len(peers) == 0 {
		return
	}
	rows := [][]string{peerHeadings}
	for _, p := range peers {
		rows = append(rows, peerRow(p, now))
	}
	widths := v.fit(rows)
	for i, row := range rows {
		var line strings.Builder
		for j, width := range widths {
			cell := runewidth.Truncate(row[j], width, "…")
			if j < len(widths)-1 {
				cell = runewidth.FillRight(cell, width+statusGap)
			}
			if i > 0 && j == columnState {
				cell = v.paint(stateColor(row[j]), cell)
			}
			line.WriteString(cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// stateColor returns the colour of a peer's state.
func stateColor(state string) string {
	switch state {
	case "up":
		return green
	case "down":
		return red
	default:
		return yellow
	}
}

// fit returns the widths of the columns that fit into the terminal. Paths are shortened first, then
// names, then columns are left out from the right.
func (v statusView) fit(rows [][]string) []int {
	widths := make([]int, len(peerHeadings))
	for _, row := range rows {
		for j := range row {
			row[j] = plain(row[j])
			widths[j] = max(widths[j], runewidth.StringWidth(row[j]))
		}
	}
	if v.width <= 0 {
		return widths
	}
	over := func() int {
		total := -statusGap
		for _, w := range widths {
			total += w + statusGap
		}
		return total - v.width
	}
	for _, j := range []int{columnPath, columnPeer} {
		widths[j] = max(widths[j]-max(over(), 0), min(widths[j], minPath))
	}
	for over() > 0 && len(widths) > columnState+1 {
		widths = widths[:len(widths)-1]
	}
	return widths
}

// peerRow returns the cells of a peer under peerHeadings.
func peerRow(p *agentpb.Peer, now time.Time) []string {
	rtt, loss := "-", "-"
	if p.RttSeconds != nil {
		rtt = rttText(time.Duration(p.GetRttSeconds() * float64(time.Second)))
	}
	if p.Loss != nil {
		loss = fmt.Sprintf("%.0f%%", 100*p.GetLoss())
	}
	return []string{p.GetName(), p.GetState(), cmp.Or(p.GetPath(), "-"), rtt, loss, handshakeText(p.GetLastHandshake(), now),
		human.Bytes(int64(p.GetReceivedBytes())), human.Bytes(int64(p.GetTransmittedBytes()))}
}

func handshakeText(at *timestamppb.Timestamp, now time.Time) string {
	if at == nil {
		return "never"
	}
	return human.Duration(now.Sub(at.AsTime()))
}
