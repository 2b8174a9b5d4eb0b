package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// table prints rows under headings. Columns are as wide as the widest cell so far, so that
// rows that come later stay aligned.
type table struct {
	out io.Writer
	// widths are the columns' widths on a terminal.
	widths []int
	// taken takes the rows that are to be part of another table; nil to print them.
	taken *rows
}

// rows are the rows of tables that become one.
type rows struct{ all [][]string }

// gap is the space between two columns.
const gap = 3

// table returns a table that a command prints, or that becomes part of another.
func (s *agentSession) table() table {
	t := table{out: s.out}
	if s.joined != nil {
		t.taken = &s.joined.rows
	}
	return t
}

func (t *table) print(rows ...[]string) error {
	if t.taken != nil {
		t.taken.all = append(t.taken.all, rows...)
		return nil
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = plain(cell)
			cell = row[i]
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], runewidth.StringWidth(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", t.widths[i]-runewidth.StringWidth(cell)+gap))
			}
		}
		if _, err := fmt.Fprintln(t.out, line.String()); err != nil {
			return err
		}
	}
	return nil
}
