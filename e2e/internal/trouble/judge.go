package trouble

import (
	"fmt"
	"slices"
	"strings"
)

// Status is what `spanctl status -o json` prints, as far as it is judged.
type Status struct {
	State      string
	Conditions []Condition
}

// Condition is one of Status.
type Condition struct {
	Code, Severity, Subject, Cause, Remedy string
}

func (c Condition) String() string {
	return fmt.Sprintf("%s %s %q: %s: %s", c.Severity, c.Code, c.Subject, c.Cause, c.Remedy)
}

// Judge returns what is wrong with a status, and with its exit status, where the fault of a code
// should show as a sign: nothing where the fault is named.
func Judge(code string, sign Sign, status Status, exit int) (misses []string) {
	named := func(c Condition) bool {
		return c.Code == code && (sign.Subject == anySubject || c.Subject == sign.Subject)
	}
	if i := slices.IndexFunc(status.Conditions, named); i < 0 {
		misses = append(misses, fmt.Sprintf("%s %q is not named", code, sign.Subject))
	} else {
		c := status.Conditions[i]
		for _, text := range sign.Texts {
			if !strings.Contains(c.Cause+": "+c.Remedy, text) {
				misses = append(misses, fmt.Sprintf("%q is not in: %s", text, c))
			}
		}
	}
	for _, c := range status.Conditions {
		if !named(c) && c.Severity != "info" && !slices.Contains(sign.Besides, c.Code) {
			misses = append(misses, "this is wrong: "+c.String())
		}
	}
	if exit != sign.Exit {
		misses = append(misses, fmt.Sprintf("the exit status is %d, want %d", exit, sign.Exit))
	}
	return misses
}
