package healthtext

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
	"github.com/spanmesh/span/reconciler/human"
)

// MaxConditions is how many conditions are shown; `spanctl get conditions` has all.
const MaxConditions = 8

// conditions returns lines about what is wrong.
func (v View) conditions(h *agentpb.GetHealthResponse) []string {
	shown := h.GetConditions()
	if len(shown) > MaxConditions {
		shown = shown[:MaxConditions]
	}
	var lines []string
	for _, c := range shown {
		lines = append(lines, v.Condition(c, h.GetTime().AsTime())...)
	}
	if more := len(h.GetConditions()) - len(shown); more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more: spanctl get conditions", more))
	}
	return lines
}

// Condition returns lines about a condition: its title, the cause and the remedy.
func (v View) Condition(c *agentpb.Condition, now time.Time) []string {
	mark, color := "i", ""
	switch c.GetSeverity() {
	case "error":
		mark, color = "x", terminal.Red
	case "warning":
		mark, color = "!", terminal.Yellow
	}
	title := v.paint(color, mark+" "+strings.TrimSpace(terminal.Plain(c.GetCode()+" "+c.GetSubject())))
	if c.GetSince() != nil {
		title += ", for " + human.Duration(now.Sub(c.GetSince().AsTime()))
	}
	lines := append([]string{title}, v.Paragraph(sentence(terminal.Plain(c.GetCause())))...)
	return append(lines, v.Paragraph(capitalized(sentence(terminal.Plain(c.GetRemedy())))+" More: spanctl explain "+terminal.Plain(c.GetCode()))...)
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
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// Paragraph returns text below a mark, in lines that are no wider than the terminal.
func (v View) Paragraph(text string) []string {
	const indent = "  "
	var lines []string
	line, used := "", 0
	for word := range strings.FieldsSeq(text) {
		width := v.Cells.width(word)
		switch {
		case used == 0:
			line, used = indent, len(indent)
		case v.Width > 0 && used+1+width > v.Width:
			lines = append(lines, line)
			line, used = indent, len(indent)
		default:
			line, used = line+" ", used+1
		}
		line, used = line+word, used+width
	}
	if used > 0 {
		lines = append(lines, line)
	}
	return lines
}
