package evaluate

import (
	"fmt"
	"time"

	"github.com/spanmesh/span/schema"
)

// ended is how a child ended.
type ended struct {
	// answer is what it said; nil if nothing that can be read.
	answer *answer
	// limits are those that it had.
	limits Limits
	// overdue is set if it was killed after its Wait.
	overdue bool
	// status describes its exit.
	status string
	// cpu is the time that it ran on processors.
	cpu time.Duration
	// memory is the most that it had resident, in bytes.
	memory uint64
}

// CrashError is the error of an evaluation that ended without an answer.
type CrashError struct {
	// Name is the file that was evaluated.
	Name string
	// How says how it ended.
	How string
}

func (e *CrashError) Error() string {
	return fmt.Sprintf("evaluating %s ended %s: if this machine has memory left, it is a fault of spanctl or of CUE; please report it with the config, without its secrets", e.Name, e.How)
}

// exhausted returns which limit a child met, 0 if none.
func (e ended) exhausted() limit {
	switch {
	case e.answer != nil:
		return e.answer.Exhausted
	case e.overdue, e.cpu >= e.limits.Time:
		return limitTime
	case e.memory >= e.limits.Memory:
		return limitMemory
	default:
		return 0
	}
}

// fault returns the error of a child without a result; nil for others.
func (e ended) fault(name string) error {
	switch met := e.exhausted(); {
	case met == limitTime && e.overdue:
		return tooMuch(name, fmt.Sprintf("was not evaluated within %v", e.limits.Wait))
	case met == limitTime:
		return tooMuch(name, fmt.Sprintf("takes more than %v to evaluate", e.limits.Time))
	case met == limitMemory:
		return tooMuch(name, fmt.Sprintf("takes more than %d MiB of memory to evaluate", e.limits.Memory>>20))
	case e.answer == nil:
		return &CrashError{Name: name, How: "without an answer (" + e.status + ")"}
	case e.answer.Panic != "":
		return &CrashError{Name: name, How: "in a panic in " + e.answer.Panic}
	default:
		return nil
	}
}

func tooMuch(name, reason string) error {
	return schema.Problems{{File: name, Reason: reason,
		Want: "a config that takes milliseconds: write out what comprehensions, recursive references, aliases or patterns compute"}}
}
