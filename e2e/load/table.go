package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// target is what a figure should be. The zero value is none.
type target struct {
	kind  targetKind
	bound float64
}

type targetKind int

const (
	// ratioAtMost and ratioAtLeast bound the figure in relation to the base's.
	ratioAtMost targetKind = iota + 1
	ratioAtLeast
	// atMost bounds the figure itself.
	atMost
)

func (t target) String() string {
	switch t.kind {
	case ratioAtMost:
		return fmt.Sprintf("ratio at most %.2f", t.bound)
	case ratioAtLeast:
		return fmt.Sprintf("ratio at least %.2f", t.bound)
	case atMost:
		return fmt.Sprintf("at most %.0f", t.bound)
	}
	return ""
}

// verdict returns "met" or "missed". Without a target, or without the ratio that it bounds,
// it returns "".
func (t target) verdict(value, ratio float64) string {
	compared := ratio
	if t.kind == atMost {
		compared = value
	}
	if t.kind == 0 || math.IsNaN(compared) {
		return ""
	}
	if met := compared <= t.bound; met == (t.kind != ratioAtLeast) || compared == t.bound {
		return "met"
	}
	return missed
}

const missed = "missed"

// figure is one row of the table.
type figure struct {
	name string
	// digits is the number of digits after the point.
	digits int
	target target
}

// row returns the row of a figure of a measurement, from its value in each turn, and the
// verdict. The base is empty if it was not measured. The ratio is the median of those of the turns, each of
// two measurements that followed each other.
func (f figure) row(measurement string, base, ours []float64) (text, verdict string) {
	before, ratio := math.NaN(), math.NaN()
	if len(base) > 0 {
		ratios := make([]float64, len(ours))
		for i := range ours {
			ratios[i] = ours[i] / base[i]
		}
		before, ratio = median(base), median(ratios)
	}
	now := median(ours)
	verdict = f.target.verdict(now, ratio)
	cells := []string{f.name, number(before, f.digits), number(now, f.digits), number(ratio, 2), f.target.String(), verdict, measurement}
	return "| " + strings.Join(cells, " | ") + " |", verdict
}

// number prints a number; one that is unknown as "".
func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.*f", digits, v)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
