package main

import (
	"math"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		name         string
		target       target
		value, ratio float64
		want         string
	}{
		{"no target", target{}, 1, 1, ""},
		{"a ratio below its upper bound", target{ratioAtMost, 0.5}, 7, 0.4, "met"},
		{"a ratio at its upper bound", target{ratioAtMost, 0.5}, 7, 0.5, "met"},
		{"a ratio above its upper bound", target{ratioAtMost, 0.5}, 0.1, 0.6, missed},
		{"a ratio above its lower bound", target{ratioAtLeast, 1.7}, 0.1, 1.8, "met"},
		{"a ratio at its lower bound", target{ratioAtLeast, 1.7}, 0.1, 1.7, "met"},
		{"a ratio below its lower bound", target{ratioAtLeast, 1.7}, 7, 1.6, missed},
		{"nothing to compare with", target{ratioAtMost, 0.5}, 7, math.NaN(), ""},
		{"a value within its bound", target{atMost, 900}, 890, math.NaN(), "met"},
		{"a value beyond its bound", target{atMost, 900}, 910, 0.5, missed},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.target.verdict(test.value, test.ratio); got != test.want {
				t.Errorf("verdict of %v with ratio %v: %q, want %q", test.value, test.ratio, got, test.want)
			}
		})
	}
}

func TestRow(t *testing.T) {
	f := figure{"time, µs", 1, target{ratioAtMost, 0.5}}
	row, verdict := f.row("updates", []float64{10, 100, 1000}, []float64{4, 45, 600})
	if want := "| time, µs | 100.0 | 45.0 | 0.45 | ratio at most 0.50 | met | updates |"; row != want || verdict != "met" {
		t.Errorf("a row: %s, %q, want %s", row, verdict, want)
	}
	row, verdict = f.row("updates", nil, []float64{4, 6})
	if want := "| time, µs |  | 5.0 |  | ratio at most 0.50 |  | updates |"; row != want || verdict != "" {
		t.Errorf("a row without a base: %s, %q, want %s", row, verdict, want)
	}
}
