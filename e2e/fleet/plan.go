package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// phaseKind is what happens in a phase.
type phaseKind string

// The kinds, which are their names, too.
const (
	storm   phaseKind = "storm"
	rest    phaseKind = "rest"
	churn   phaseKind = "churn"
	restart phaseKind = "restart"
	cut     phaseKind = "cut"
	rolling phaseKind = "rolling"
)

// phase is a part of a run.
type phase struct {
	name phaseKind
	// lasts is how long its steps are spread over, and steps is how many there are: machines
	// that are replaced, or begin again.
	lasts time.Duration
	steps int
	// deadline is how long all machines may take to know all afterwards.
	deadline time.Duration
}

const (
	// churnRate is the part of the machines that are replaced in a minute of churn.
	churnRate = 0.10
	// The length of phases.
	restLasts    = 20 * time.Second
	churnLasts   = 30 * time.Second
	cutLasts     = 15 * time.Second
	rollingLasts = time.Minute
	// knowDeadline bounds the time until all know all.
	knowDeadline = 2 * time.Minute
	// quickly divides the lengths of quick phases.
	quickly = 100
	// grace is how much longer than planned paced steps may take, as a part of their time.
	grace = 0.5
)

// phases returns the phases to run.
func (o options) phases() ([]phase, error) {
	replaced := func(lasts time.Duration) int {
		return max(1, int(float64(o.machines)*churnRate*lasts.Minutes()))
	}
	all := []phase{
		{name: storm},
		{name: rest, lasts: restLasts},
		{name: churn, lasts: churnLasts, steps: replaced(churnLasts)},
		{name: restart},
		{name: cut, lasts: cutLasts, steps: replaced(cutLasts)},
		{name: rolling, lasts: rollingLasts, steps: o.machines},
	}
	for i := range all {
		all[i].deadline = knowDeadline
		if o.quick {
			all[i].lasts /= quickly
		}
	}
	if o.only == "" {
		return all, nil
	}
	wanted := strings.Split(o.only, ",")
	for _, name := range wanted {
		if !slices.Contains(phaseNames(), name) {
			return nil, fmt.Errorf("-only has %q: want some of %s", name, strings.Join(phaseNames(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(p phase) bool {
		return p.name != storm && !slices.Contains(wanted, string(p.name))
	}), nil
}

func phaseNames() []string {
	return []string{string(storm), string(rest), string(churn), string(restart), string(cut), string(rolling)}
}

// due returns how many of the steps are to be done after a time.
func (p phase) due(after time.Duration) int {
	if p.lasts <= 0 || after >= p.lasts {
		return p.steps
	}
	return int(int64(p.steps) * int64(after) / int64(p.lasts))
}

// tooLate reports whether the steps have taken longer than they may.
func (p phase) tooLate(after time.Duration) bool {
	return after > p.lasts+time.Duration(float64(p.lasts)*grace)+time.Second
}
