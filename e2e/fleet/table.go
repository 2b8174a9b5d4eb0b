package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const mebibyte = 1 << 20

// target is what a figure of the run should be at most.
type target struct {
	name  string
	bound float64
	// least is the number of machines from which on the bound means something.
	least int
	// value returns the figure; false if it was not measured.
	value func(r *record) (float64, bool)
}

// aimedAt is the number of machines that the targets are for.
const aimedAt = 5000

// targets are those of a storm of 5,000 machines, and of the memory of an agent.
func targets() []target {
	of := func(name phaseKind, value func(d *phaseRecord) float64) func(r *record) (float64, bool) {
		return func(r *record) (float64, bool) {
			if d := r.phase(name); d != nil {
				return value(d), true
			}
			return 0, false
		}
	}
	return []target{
		{"all join: s until all know all", 60, aimedAt, of(storm, func(d *phaseRecord) float64 { return d.Known })},
		{"all join: s of the server's processor time", 20, aimedAt, of(storm, func(d *phaseRecord) float64 { return d.Server })},
		{"all join: most memory of the server, MiB", 500, aimedAt, of(storm, func(d *phaseRecord) float64 { return float64(d.Most) / mebibyte })},
		// What every agent has by itself counts little from here on.
		{"heap of an agent for each peer, bytes", 2000, 1000, func(r *record) (float64, bool) { return r.heapPerPeer() }},
	}
}

// verdict returns "met" or "missed"; "" where the target does not apply.
func (t target) verdict(r *record) string {
	v, known := t.value(r)
	switch {
	case !known || r.Machines < t.least:
		return ""
	case v <= t.bound:
		return "met"
	}
	return "missed"
}

// heapPerPeer returns the heap of a whole machine for each peer that it knows, in bytes.
func (r *record) heapPerPeer() (float64, bool) {
	d := r.phase(rest)
	if d == nil || d.Heap == 0 {
		return 0, false
	}
	return float64(d.Heap) / float64(r.Whole) / float64(r.Machines-1), true
}

// missed returns the targets that are missed, and what did not go as planned.
func (r *record) missed() (all []string) {
	for _, t := range targets() {
		if t.verdict(r) == "missed" {
			all = append(all, t.name)
		}
	}
	for _, d := range r.Phases {
		for _, fault := range d.Faults {
			all = append(all, fmt.Sprintf("%s: %s", d.Name, fault))
		}
	}
	return all
}

// tables returns what was measured, in Markdown.
func (r *record) tables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d machines, %d of them whole; store %s; %d cores, %s; all on one machine\n\n", r.Machines, r.Whole, r.Store, r.Cores, r.Go)
	row(&b, "phase", "s", "all know all after, s", "whole ones, s", "server: processor time, s", "of a core", "most memory, MiB",
		"messages to light machines", "affiliates in them", "MiB from the server", "a whole machine: of a core", "cores of all processes", "know some that are gone")
	row(&b, rule(13)...)
	for _, d := range r.Phases {
		row(&b, string(d.Name), number(d.Lasted, 1), number(d.Known, 1), number(d.KnownWhole, 1), number(d.Server, 2), percent(d.Server/d.Lasted),
			number(float64(d.Most)/mebibyte, 0), grouped(d.Messages), grouped(d.Affiliates), number(float64(d.Read)/mebibyte, 1),
			percent(d.Wholes/d.Lasted/float64(r.Whole)), number((d.Server+d.Lights+d.Wholes)/d.Lasted, 2), number(float64(d.Outdated), 0))
	}
	b.WriteByte('\n')
	row(&b, "", "measured", "target", "")
	row(&b, rule(4)...)
	for _, t := range targets() {
		if v, known := t.value(r); known {
			row(&b, t.name, number(v, 1), "at most "+number(t.bound, 0), t.verdict(r))
		}
	}
	return b.String()
}

// rule returns the cells below the head of a table.
func rule(columns int) []string { return slices.Repeat([]string{"---"}, columns) }

// row writes a row of a table.
func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func number(v float64, digits int) string { return fmt.Sprintf("%.*f", digits, v) }

// percent prints a part of one with two significant digits or more.
func percent(v float64) string {
	if v < 0.1 {
		return number(100*v, 2) + " %"
	}
	return number(100*v, 0) + " %"
}

// grouped prints a number with commas between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
