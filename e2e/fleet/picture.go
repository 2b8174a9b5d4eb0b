package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that can be told from white and from black.
var (
	grey  = color.NRGBA{0x80, 0x88, 0x90, 0xff}
	blue  = color.NRGBA{0x2f, 0x81, 0xf7, 0xff}
	amber = color.NRGBA{0xd0, 0x8a, 0x1e, 0xff}
	green = color.NRGBA{0x2d, 0xa4, 0x4e, 0xff}
	red   = color.NRGBA{0xe0, 0x4f, 0x4a, 0xff}
)

const (
	pictureWidth = 24 * vg.Centimeter
	panelHeight  = 5 * vg.Centimeter
	// mostPoints is how many points a line has at most.
	mostPoints = 240
	fontSize   = 9
	// margin is what labels of ticks need at the right.
	margin = 8 * vg.Millimeter
	// headroom is how much higher than the highest value a panel is: there are legends and marks.
	headroom = 1.4
)

// series is a line of a panel.
type series struct {
	name   string
	color  color.Color
	points plotter.XYs
}

// mark is a vertical line with a name.
type mark struct {
	x    float64
	name string
}

// panel is a part of a picture: its own y, and x as the others.
type panel struct {
	title  string
	series []series
	marks  []mark
	// logarithmic is set if both axes are.
	logarithmic bool
	xLabel      string
}

// thinned returns at most mostPoints of the points: of those that fall together, the largest.
func thinned(points plotter.XYs) plotter.XYs {
	each := (len(points) + mostPoints - 1) / mostPoints
	if each <= 1 {
		return points
	}
	var out plotter.XYs
	for i := 0; i < len(points); i += each {
		largest := points[i]
		for _, p := range points[i:min(i+each, len(points))] {
			if p.Y > largest.Y {
				largest = p
			}
		}
		out = append(out, largest)
	}
	return out
}

// style makes a plot legible on white and on black.
func style(p *plot.Plot) {
	p.BackgroundColor = nil // that of the page
	face := font.Font{Typeface: "Liberation", Variant: "Sans", Size: fontSize}
	for _, s := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		s.Color, s.Font = grey, face
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Tick.Color = grey, grey
	}
	p.Legend.Top, p.Legend.Left = true, true
}

// plot returns the plot of a panel.
func (n panel) plot() (*plot.Plot, error) {
	p := plot.New()
	style(p)
	p.Title.Text, p.X.Label.Text = n.title, n.xLabel
	top := 0.0
	for _, s := range n.series {
		line, err := plotter.NewLine(thinned(s.points))
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = s.color, vg.Points(1.4)
		p.Add(line)
		if len(n.series) > 1 {
			p.Legend.Add(s.name, line)
		}
		for _, at := range s.points {
			top = math.Max(top, at.Y)
		}
	}
	if n.logarithmic {
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
		return p, nil
	}
	p.Y.Min, p.Y.Max = 0, math.Max(1, headroom*top)
	return p, n.addMarks(p)
}

// addMarks adds the vertical lines.
func (n panel) addMarks(p *plot.Plot) error {
	for _, m := range n.marks {
		line, err := plotter.NewLine(plotter.XYs{{X: m.x, Y: 0}, {X: m.x, Y: p.Y.Max}})
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = grey, vg.Points(0.5), []vg.Length{vg.Points(2), vg.Points(2)}
		p.Add(line)
		if m.name == "" {
			continue
		}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: m.x, Y: 0.93 * p.Y.Max}}, Labels: []string{" " + m.name}})
		if err != nil {
			return err
		}
		label.TextStyle[0].Color, label.TextStyle[0].Font = grey, p.Title.TextStyle.Font
		p.Add(label)
	}
	return nil
}

// picture writes panels below each other to an SVG file.
func picture(path string, panels ...panel) error {
	plots := make([][]*plot.Plot, len(panels))
	for i, n := range panels {
		p, err := n.plot()
		if err != nil {
			return err
		}
		plots[i] = []*plot.Plot{p}
	}
	canvas := vgsvg.New(pictureWidth, panelHeight*vg.Length(len(panels)))
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Millimeter * 3}
	for i, row := range plot.Align(plots, tiles, draw.Crop(draw.New(canvas), 0, -margin, 0, 0)) {
		plots[i][0].Draw(row[0])
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	// A browser that lacks the font that was measured with takes another without serifs.
	svg := strings.ReplaceAll(b.String(), "font-family:Liberation Sans", "font-family:Liberation Sans,Arial,sans-serif")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(svg), 0o644)
}

// line returns a series of a value of samples.
func line(name string, c color.Color, samples []sample, value func(i int) float64) series {
	s := series{name: name, color: c}
	for i := range samples {
		s.points = append(s.points, plotter.XY{X: samples[i].At - samples[0].At, Y: value(i)})
	}
	return s
}

// rate returns how much a counter grows in a second, over the last second or so of samples.
func rate(samples []sample, i int, counter func(sample) float64) float64 {
	before := i
	for before > 0 && samples[i].At-samples[before].At < 1 {
		before--
	}
	if took := samples[i].At - samples[before].At; took > 0 {
		return math.Max(0, counter(samples[i])-counter(samples[before])) / took
	}
	return 0
}

// panels returns what happened in a part of a run.
func (r *record) panels(samples []sample, marks []mark) []panel {
	core := func(of func(sample) float64) func(i int) float64 {
		return func(i int) float64 { return 100 * rate(samples, i, of) }
	}
	unnamed := make([]mark, len(marks))
	for i, m := range marks {
		unnamed[i].x = m.x
	}
	return []panel{
		{title: "machines, % of all", marks: unnamed, series: []series{
			line("follow the server", amber, samples, func(i int) float64 { return 100 * float64(samples[i].Following) / float64(r.Machines) }),
			line("know all others", green, samples, func(i int) float64 { return 100 * float64(samples[i].Knowing) / float64(r.Machines) }),
		}},
		{title: "processor time, % of a core", marks: unnamed, series: []series{
			line("all light machines", amber, samples, core(func(s sample) float64 { return s.Lights })),
			line("all whole machines", red, samples, core(func(s sample) float64 { return s.Wholes })),
			line("server", blue, samples, core(func(s sample) float64 { return s.Server })),
		}},
		{title: "memory of the server, MiB", marks: marks, xLabel: "seconds", series: []series{
			line("server", blue, samples, func(i int) float64 { return float64(samples[i].Resident) / mebibyte }),
		}},
	}
}

// draw draws the whole run, and its storm, into a directory.
func (r *record) draw(dir string) error {
	var marks []mark
	for _, d := range r.Phases {
		marks = append(marks, mark{r.Samples[d.From].At - r.Samples[0].At, string(d.Name)})
	}
	if err := picture(filepath.Join(dir, "scale-run.svg"), r.panels(r.Samples, marks)...); err != nil {
		return err
	}
	d := r.phase(storm)
	return picture(filepath.Join(dir, "scale-storm.svg"), r.panels(r.Samples[d.From:d.To+1], nil)...)
}

// draw draws what designs cost with more and more machines into a directory.
func (c costs) draw(dir string) error {
	if c.heap == 0 || c.perChange == 0 {
		return nil // a part of a run
	}
	colours := []color.Color{red, green, amber, blue}
	lines := func(value func(bill) float64) (all []series) {
		for i, d := range designs() {
			s := series{name: d.name, color: colours[i]}
			for n := 100.0; n <= aimedFar*1.001; n *= math.Pow(10, 0.1) {
				s.points = append(s.points, plotter.XY{X: n, Y: value(c.bill(d, n))})
			}
			all = append(all, s)
		}
		return all
	}
	return picture(filepath.Join(dir, "scale-designs.svg"),
		panel{title: "a machine: agent and the kernel's WireGuard, MiB", logarithmic: true, series: lines(func(b bill) float64 { return (b.heap + b.kernel) / mebibyte })},
		panel{title: "a discovery server: deliveries a second, a tenth of the machines replaced in a minute", logarithmic: true, xLabel: "machines",
			series: lines(func(b bill) float64 { return b.deliveries })})
}
