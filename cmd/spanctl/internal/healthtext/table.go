package healthtext

import (
	"strings"

	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// Column is a column of a table.
type Column struct {
	Heading string
	// Least is the number of columns of the terminal that it shrinks to; 0 for one that does not
	// shrink.
	Least int
	// Color returns the colour of a cell, or "" for none; nil for a column without colours.
	Color func(cell string) string
}

// leastColumns is the number of columns of a table that are never left out.
const leastColumns = 2

// Table returns a table with its headings.
func (v View) Table(columns []Column, rows [][]string) []string {
	widths := v.Fit(columns, rows)
	lines := []string{v.Headings(columns, widths)}
	for _, row := range rows {
		lines = append(lines, v.Row(columns, widths, row))
	}
	return lines
}

// Fit returns the widths of the columns that fit into the terminal, and makes the cells plain.
// Columns that shrink do so first, from the right; then columns are left out from the right.
func (v View) Fit(columns []Column, rows [][]string) []int {
	widths := make([]int, len(columns))
	for j, c := range columns {
		widths[j] = v.Cells.width(c.Heading)
	}
	for _, row := range rows {
		for j := range row {
			row[j] = terminal.Plain(row[j])
			widths[j] = max(widths[j], v.Cells.width(row[j]))
		}
	}
	if v.Width <= 0 {
		return widths
	}
	over := func() int {
		total := -gap
		for _, w := range widths {
			total += w + gap
		}
		return total - v.Width
	}
	for j := len(columns) - 1; j >= 0; j-- {
		if least := columns[j].Least; least > 0 {
			widths[j] = max(widths[j]-max(over(), 0), min(widths[j], least))
		}
	}
	for over() > 0 && len(widths) > leastColumns {
		widths = widths[:len(widths)-1]
	}
	return widths
}

// Headings returns the line of the headings, in columns of the widths that Fit returned.
func (v View) Headings(columns []Column, widths []int) string {
	cells := make([]string, len(columns))
	for j, c := range columns {
		cells[j] = c.Heading
	}
	return v.line(columns, widths, cells, false)
}

// Row returns the line of a row that Fit was given.
func (v View) Row(columns []Column, widths []int, row []string) string {
	return v.line(columns, widths, row, true)
}

func (v View) line(columns []Column, widths []int, cells []string, colored bool) string {
	var line strings.Builder
	for j, width := range widths {
		cell := v.Cells.truncate(cells[j], width, "…")
		if j < len(widths)-1 {
			cell = v.Cells.fill(cell, width+gap)
		}
		if color := columns[j].Color; colored && color != nil {
			cell = v.paint(color(cells[j]), cell)
		}
		line.WriteString(cell)
	}
	return strings.TrimRight(line.String(), " ")
}
