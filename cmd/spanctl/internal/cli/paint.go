package cli

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// wantsColor reports whether to colour what is written to out. NO_COLOR turns it off
// where nothing else was asked for (no-color.org).
func wantsColor(out io.Writer, asked string) bool {
	if asked != colorAuto {
		return asked == colorAlways
	}
	file, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// painter writes a plan as a unified diff.
type painter struct {
	out io.Writer
	on  bool
	buf bytes.Buffer
}

func (p *painter) line(color, text string) {
	text = plain(text)
	if p.on && color != "" {
		text = color + text + terminal.Reset
	}
	p.buf.WriteString(text + "\n")
}

// plan writes the changes of a plan, by object, under the names of both sides. Without a
// change it writes nothing.
func (p *painter) plan(c comparison) error {
	plan := c.plan
	if len(plan.GetChanges()) == 0 {
		return nil
	}
	p.line(terminal.Bold, "--- "+c.from)
	p.line(terminal.Bold, "+++ "+c.to)
	last := ""
	for _, c := range plan.GetChanges() {
		head, mark, color := headOf(c), " ", ""
		switch c.GetAction() {
		case "create":
			mark, color = "+", terminal.Green
		case "delete":
			mark, color = "-", terminal.Red
		}
		if mark+head != last {
			p.line(color, mark+head)
		}
		last = mark + head
		for _, f := range c.GetFields() {
			if f.GetFrom() != "" {
				p.line(terminal.Red, "-  "+f.GetName()+" "+f.GetFrom())
			}
			if f.GetTo() != "" {
				p.line(terminal.Green, "+  "+f.GetName()+" "+f.GetTo())
			}
		}
	}
	_, err := p.out.Write(p.buf.Bytes())
	return err
}

// headOf returns the name of a change's object.
func headOf(c *agentpb.Change) string {
	if c.GetKind() == kindSetting {
		return c.GetId()
	}
	return c.GetKind() + " " + c.GetId() + labelOf(c)
}

// labelOf returns the peer's name in parentheses, as the change's text has it.
func labelOf(c *agentpb.Change) string {
	if c.GetLabel() == "" {
		return ""
	}
	return " (" + c.GetLabel() + ")"
}
