package cli

import (
	"io"

	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// plain returns text on one line, with what controls a terminal escaped.
func plain(text string) string { return terminal.Plain(text) }

// plainLines is plain for text of several lines.
func plainLines(text string) string { return terminal.PlainLines(text) }

// plainJSON is plain for the strings of a JSON or YAML document.
func plainJSON(document string) string { return terminal.PlainJSON(document) }

// plainWriter escapes what is written for people, a whole text at a time. It is the standard
// error of all commands, and the log's.
type plainWriter struct {
	out io.Writer
	// plain is plainLines or plainJSON.
	plain func(string) string
}

// Write implements io.Writer.
func (w *plainWriter) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.out, w.plain(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// behind returns what a plainWriter writes to, for another program; any other writer as it is.
func behind(w io.Writer) io.Writer {
	if p, ok := w.(*plainWriter); ok {
		return p.out
	}
	return w
}
