package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
)

const (
	// frameLines are the title and the keys, which every screen has.
	frameLines = 2
	// minKeys is the height in lines below which the keys are not shown.
	minKeys = 3
	// late is the age from which the title has that of what is shown.
	late = 3 * time.Second
	// cut ends text that is too long.
	cut = "…"
)

// View returns the screen: as many lines as the terminal has, none wider than it.
func (m *Model) View() string {
	if m.view.Width <= 0 || m.height <= 0 {
		return ""
	}
	height, keys := m.height, m.height >= minKeys
	if keys {
		height--
	}
	var lines []string
	if m.screen == overview {
		lines = m.overview(height)
	} else {
		body := m.body()
		body = body[min(m.scroll, max(len(body)-1, 0)):]
		lines = append([]string{m.title()}, body...)
	}
	lines = lines[:min(len(lines), height)]
	for len(lines) < height {
		lines = append(lines, "")
	}
	if keys {
		lines = append(lines, m.keys())
	}
	for i, line := range lines {
		lines[i] = m.clip(line)
	}
	return strings.Join(lines, "\n")
}

// clip shortens a line to the width of the terminal.
func (m *Model) clip(line string) string {
	if m.view.Cells.Width(line) <= m.view.Width {
		return line
	}
	return m.view.Cells.Truncate(line, m.view.Width, cut)
}

// body returns all lines of a screen other than the overview.
func (m *Model) body() []string {
	switch m.screen {
	case peer:
		return m.peerScreen()
	case conditions:
		return m.conditionsScreen()
	case events:
		return m.eventsScreen()
	case machine:
		return m.machineScreen()
	case diff:
		return m.diffScreen()
	default:
		return m.helpScreen()
	}
}

// maxScroll is the first line of the last page.
func (m *Model) maxScroll() int { return max(len(m.body())-max(m.height-frameLines, 1), 0) }

// title returns the first line: the state of the machine, and at its right the time.
func (m *Model) title() string { return m.head()[0] }

// head returns the lines about the machine.
func (m *Model) head() []string {
	d := m.data()
	lines := m.view.Head(d.health)
	left := m.clip(lines[0])
	right := m.clock()
	if space := m.view.Width - m.view.Cells.Width(left) - m.view.Cells.Width(right); space > 0 {
		left += strings.Repeat(" ", space) + right
	}
	lines[0] = left
	return lines
}

// clock returns what is at the right of the title.
func (m *Model) clock() string {
	d := m.data()
	up := 0
	for _, p := range d.health.GetPeers() {
		if p.GetState() == "up" {
			up++
		}
	}
	text := d.health.GetTime().AsTime().In(m.options.Zone).Format("15:04:05")
	if n := len(d.health.GetPeers()); n > 0 {
		text = fmt.Sprintf("%d/%d up  %s", up, n, text)
	}
	switch age := m.now.Sub(d.at); {
	case m.frozen != nil:
		text += "  " + m.paint(terminal.Bold, "paused")
	case age >= late:
		text += "  " + m.paint(terminal.Bold, human.Duration(age)+" ago")
	}
	return text
}

func (m *Model) paint(color, text string) string {
	if !m.options.Color {
		return text
	}
	return color + text + terminal.Reset
}

// keys returns the last line: the filter while it is typed, else the keys.
func (m *Model) keys() string {
	if m.typing {
		return "/" + m.filter + "_  enter keeps it, esc clears it"
	}
	words := []string{"q quit", "? help", "/ filter", "s sort: " + m.sort.String(), "enter peer", "c conditions", "e events", "m machine", "d diff", "p pause"}
	if m.screen != overview {
		words = []string{"esc back", "q quit", "? help", "/ filter", "c conditions", "e events", "m machine", "d diff", "p pause"}
	}
	line := ""
	if m.filter != "" {
		line = m.paint(terminal.Bold, "filter: "+m.filter) + "  "
	}
	for _, w := range words {
		if m.view.Cells.Width(line)+m.view.Cells.Width(w) > m.view.Width {
			break
		}
		line += w + "  "
	}
	return strings.TrimRight(line, " ")
}

// heading returns the heading of a part of the screen.
func (m *Model) heading(text string) string { return m.paint(terminal.Bold, text) }

// failure returns lines about an answer that did not come.
func (m *Model) failure() []string {
	d := m.data()
	if d.failed == nil {
		return nil
	}
	title := m.paint(terminal.Red, "x no answer") + ", for " + human.Duration(m.now.Sub(d.failedSince)) + ": what is below was so before"
	return append([]string{title}, m.paragraphs(d.failed.Error())...)
}

// paragraphs returns a text of several lines.
func (m *Model) paragraphs(text string) (lines []string) {
	for line := range strings.Lines(text) {
		lines = append(lines, m.view.Paragraph(terminal.Plain(strings.TrimSpace(line)))...)
	}
	return lines
}

// conditionLines returns lines about what is wrong: all of them whole if that takes no more than
// space, else as many as fit, then titles, and how many more there are.
func (m *Model) conditionLines(space int) []string {
	d := m.data()
	lines := m.failure()
	var shown [][]string
	total := len(lines)
	for _, c := range d.health.GetConditions() {
		one := m.view.Condition(c, d.health.GetTime().AsTime())
		shown, total = append(shown, one), total+len(one)
	}
	if total <= space {
		return append(lines, flatten(shown)...)
	}
	for len(shown) > 0 && len(lines)+len(shown[0]) < space { // a line is left for the rest
		lines, shown = append(lines, shown[0]...), shown[1:]
	}
	left := max(space-len(lines), 0)
	if rest := len(shown); rest > left && left > 0 {
		lines = append(append(lines, titles(shown[:left-1])...), fmt.Sprintf("… and %d more: press c", rest-left+1))
	} else {
		lines = append(lines, titles(shown[:min(rest, left)])...)
	}
	return lines[:min(len(lines), max(space, 0))]
}

func flatten(parts [][]string) (lines []string) {
	for _, p := range parts {
		lines = append(lines, p...)
	}
	return lines
}

// titles returns the first lines of conditions.
func titles(shown [][]string) (lines []string) {
	for _, one := range shown {
		lines = append(lines, one[0])
	}
	return lines
}

// narrow returns the view of what begins after some columns.
func (m *Model) narrow(by int) healthtext.View {
	v := m.view
	v.Width = max(v.Width-by, 1)
	return v
}

// about returns the conditions with a subject.
func about(h *agentpb.GetHealthResponse, subject string) (found []*agentpb.Condition) {
	for _, c := range h.GetConditions() {
		if c.GetSubject() == subject {
			found = append(found, c)
		}
	}
	return found
}
