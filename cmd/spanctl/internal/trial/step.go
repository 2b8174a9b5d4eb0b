package trial

import (
	"errors"
	"fmt"
	"time"
)

// The errors of Step.
var (
	ErrNone       = errors.New("no config is on trial")
	ErrOnTrial    = errors.New("a config is on trial: `spanctl confirm` keeps it, `spanctl rollback` ends it")
	ErrNotEnded   = errors.New("a trial has ended, but what comes after it is not in force yet: `spanctl rollback` or `spanctl apply --immediate` tries again")
	ErrNothing    = errors.New("the config on trial is not in force: `spanctl reload` puts the file in force, `spanctl rollback` ends the trial")
	ErrNoPrevious = errors.New("there is none before the one in force")
	ErrOther      = errors.New("holds a config that is not in force, and would be lost: `spanctl reload` it first")
)

// Event is something that happens to the config.
type Event interface {
	step(s State, now Moment) ([]Effect, error)
}

// Start is the start of an agent.
type Start struct{}

// Tick is that time has passed. A command without an agent begins with one.
type Tick struct{}

// End ends a trial before its time: its author gave up, or it began in part.
type End struct{}

// Abandon ends a trial of which nothing is in force.
type Abandon struct {
	// Same is set if the file is as it was, too.
	Same bool
}

// Edit is another config in the file.
type Edit struct{}

// Reload is the wish to have the file in force.
type Reload struct{}

// Apply is a change that is to be in force for good.
type Apply struct{}

// Stage is a change that is to be in the file.
type Stage struct{}

// Try is a change that is to be in force for a while.
type Try struct{ Timeout time.Duration }

// Keep confirms the config on trial.
type Keep struct{}

// Rollback puts a revision in force again; 0 stands for the one before.
type Rollback struct{ To int }

// Down takes the mesh down.
type Down struct{}

// Step returns what an event does, in order. After an error nothing is changed.
func Step(s State, e Event, now Moment) ([]Effect, error) { return e.step(s, now) }

// end brings back what was there before the trial. Each part of it is tried, whatever becomes of
// the others; the record stays until all are done.
func end(s State) []Effect {
	erase := Effect{Do: Erase}
	switch {
	case s.Confirmed == 0:
		return []Effect{{Do: RemoveFile}, {Do: TakeDown, Whole: true, Anyway: true}, erase}
	case s.Down || s.Trial.Down:
		return []Effect{{Do: StoreRevision, Revision: s.Confirmed}, {Do: TakeDown, Whole: true, Anyway: true}, {Do: NoteDown}, erase}
	default:
		return []Effect{
			{Do: StoreRevision, Revision: s.Confirmed},
			{Do: EnforceRevision, Revision: s.Confirmed, How: "try-ended", Confirmed: true, Whole: true, Anyway: true},
			erase,
		}
	}
}

// A start puts the file in force. A trial goes on for what is left of it. If that cannot be
// written down, the trial ends: the next start would prolong it again.
func (Start) step(s State, now Moment) ([]Effect, error) { //nolint:unparam // other events have errors
	file := Effect{Do: EnforceFile, How: "start", Confirmed: true}
	switch s.phase(now) {
	case decided:
		file.Anyway = true
		return []Effect{{Do: Erase}, file}, nil
	case over:
		s.Down = false // the mesh comes up with the agent
		return end(s), nil
	case on:
		file.Confirmed = false
		if resumed, another := s.Trial.Resumed(now); another {
			return []Effect{{Do: Write, Record: resumed}, file}, nil
		}
	}
	return []Effect{file}, nil
}

func (Tick) step(s State, now Moment) ([]Effect, error) {
	switch s.phase(now) {
	case over:
		return end(s), nil
	case decided:
		return complete(s), nil
	case on:
		if resumed, another := s.Trial.Resumed(now); another {
			return []Effect{{Do: Write, Record: resumed}}, nil
		}
	}
	return nil, nil
}

// complete puts in force what was confirmed in place of a trial, or takes the mesh down if that was
// wanted afterwards and failed in part, and removes the record.
func complete(s State) []Effect {
	if s.Down {
		return []Effect{{Do: TakeDown, Whole: true}, {Do: Erase}}
	}
	return []Effect{{Do: EnforceRevision, Revision: s.Confirmed, How: "confirmed", Confirmed: true, Whole: true}, {Do: Erase}}
}

func (End) step(s State, now Moment) ([]Effect, error) {
	if s.OnTrial(now) {
		return end(s), nil
	}
	return Tick{}.step(s, now)
}

func (a Abandon) step(s State, now Moment) ([]Effect, error) {
	switch {
	case !s.OnTrial(now):
		return Tick{}.step(s, now)
	case a.Same:
		return []Effect{{Do: Erase}}, nil
	case s.Confirmed == 0:
		return []Effect{{Do: RemoveFile}, {Do: Erase}}, nil
	default:
		return []Effect{{Do: StoreRevision, Revision: s.Confirmed}, {Do: Erase}}, nil
	}
}

func (Edit) step(s State, now Moment) ([]Effect, error) {
	return enforceFile(s, now, "file")
}

func (Reload) step(s State, now Moment) ([]Effect, error) {
	return enforceFile(s, now, "reload")
}

func enforceFile(s State, now Moment, how string) ([]Effect, error) {
	if s.phase(now) == over {
		return nil, ErrNotEnded
	}
	return []Effect{{Do: EnforceFile, How: how, Confirmed: !s.OnTrial(now)}}, nil
}

// After its time, a trial whose end failed does not stand in the way of a change for good.
func (Apply) step(s State, now Moment) ([]Effect, error) {
	switch s.phase(now) {
	case on:
		return nil, ErrOnTrial
	case none:
		return []Effect{{Do: StoreChange}, {Do: EnforceChange, How: "apply", Confirmed: true}}, nil
	default:
		return []Effect{{Do: StoreChange}, {Do: EnforceChange, How: "apply", Confirmed: true, Whole: true}, {Do: Erase}}, nil
	}
}

func (Stage) step(s State, now Moment) ([]Effect, error) {
	switch s.phase(now) {
	case on:
		return nil, ErrOnTrial
	case none:
		return []Effect{{Do: StoreChange}}, nil
	default:
		return nil, ErrNotEnded
	}
}

func (t Try) step(s State, now Moment) ([]Effect, error) {
	record, err := Begin(s, t.Timeout, now)
	switch {
	case err != nil:
		return nil, err
	case s.phase(now) == on:
		return nil, ErrOnTrial
	case s.phase(now) != none:
		return nil, ErrNotEnded
	case s.Other:
		return nil, ErrOther
	}
	return []Effect{{Do: Write, Record: record}, {Do: StoreChange}, {Do: EnforceChange, How: "try"}}, nil
}

func (Keep) step(s State, now Moment) ([]Effect, error) {
	switch s.phase(now) {
	case on:
		if s.Newest <= s.Trial.Newest {
			return nil, ErrNothing
		}
		return []Effect{{Do: Confirm}, {Do: Erase}}, nil
	case over:
		return nil, ErrNotEnded
	case decided:
		return complete(s), nil
	}
	return nil, ErrNone
}

func (r Rollback) step(s State, now Moment) ([]Effect, error) {
	to := r.To
	if to == 0 {
		if s.OnTrial(now) {
			return end(s), nil
		}
		if to = s.Previous; to == 0 {
			return nil, ErrNoPrevious
		}
	}
	effects := []Effect{
		{Do: StoreRevision, Revision: to},
		{Do: EnforceRevision, Revision: to, How: fmt.Sprintf("rollback-%d", to), Confirmed: true, Whole: s.Trial != nil},
	}
	if s.Trial != nil {
		effects = append(effects, Effect{Do: Erase})
	}
	return effects, nil
}

// Down ends a trial: the config before is in the file, and the mesh stays down. Where the mesh
// could not be taken down as a whole, the trial stays, and its end tries again.
func (Down) step(s State, now Moment) ([]Effect, error) { //nolint:unparam // other events have errors
	if s.Trial == nil {
		return []Effect{{Do: TakeDown}, {Do: NoteDown}}, nil
	}
	effects := []Effect{{Do: TakeDown, Whole: true}, {Do: NoteDown, Anyway: true}}
	switch {
	case s.phase(now) == decided:
	case s.Confirmed == 0:
		effects = append(effects, Effect{Do: RemoveFile})
	default:
		effects = append(effects, Effect{Do: StoreRevision, Revision: s.Confirmed})
	}
	return append(effects, Effect{Do: Erase}), nil
}
