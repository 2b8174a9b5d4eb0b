package walk

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// String returns a walk as text, a line for each step, which Parse reads.
func (w Walk) String() string {
	var b strings.Builder
	for _, s := range w {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// String returns a step as a line of text, such as "kill-agent 3 17 250ms".
func (s Step) String() string {
	if s.Action == Heal {
		return Heal
	}
	return fmt.Sprintf("%s %d %d %v", s.Action, s.Node, s.Argument, s.Pause)
}

// Parse reads what String returns. Empty lines and those that begin with # are left out.
func Parse(text string) (Walk, error) {
	var w Walk
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseStep(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		w = append(w, s)
	}
	return w, nil
}

func parseStep(fields []string) (s Step, err error) {
	s.Action = fields[0]
	if s.Action == Heal && len(fields) == 1 {
		return s, nil
	}
	if len(fields) != 4 {
		return s, fmt.Errorf("%q: want an action, a node, an argument and a pause", strings.Join(fields, " "))
	}
	if s.Node, err = strconv.Atoi(fields[1]); err != nil {
		return s, fmt.Errorf("the node: %w", err)
	}
	if s.Argument, err = strconv.Atoi(fields[2]); err != nil {
		return s, fmt.Errorf("the argument: %w", err)
	}
	if s.Node < 0 || s.Argument < 0 {
		return s, fmt.Errorf("%q: a number is negative", strings.Join(fields, " "))
	}
	if s.Pause, err = time.ParseDuration(fields[3]); err != nil {
		return s, fmt.Errorf("the pause: %w", err)
	}
	return s, nil
}
