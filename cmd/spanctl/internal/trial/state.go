package trial

// State is what a decision depends on.
type State struct {
	// Trial is the record of a trial; nil without one.
	Trial *Record
	// Confirmed is the newest revision of the history that is confirmed, Previous the one before
	// it, Newest the newest, confirmed or not; 0 where there is none.
	Confirmed, Previous, Newest int
	// Other is set if the file has a config that is not in force.
	Other bool
	// Down is set if a command took the mesh down, and nothing was put in force since.
	Down bool
}

// phase is where a trial is.
type phase int

const (
	none phase = iota
	// on: the config on trial is in force.
	on
	// over: the config before has to come back.
	over
	// decided: another config than the one before is confirmed; the record is left to remove.
	decided
)

func (s State) phase(now Moment) phase {
	switch {
	case s.Trial == nil:
		return none
	case s.Confirmed > s.Trial.Before:
		return decided
	case s.Trial.LeftAt(now) <= 0:
		return over
	default:
		return on
	}
}

// OnTrial reports whether what is put in force now is not confirmed.
func (s State) OnTrial(now Moment) bool {
	p := s.phase(now)
	return p == on || p == over
}

// Over reports whether the time of a trial is up.
func (s State) Over(now Moment) bool { return s.phase(now) == over }

// InForce returns the revision that may be in force now; 0 for none.
func (s State) InForce(now Moment) int {
	if s.phase(now) == on && s.Newest > s.Trial.Newest {
		return s.Newest
	}
	return s.Confirmed
}

// Effect is one change of the disk, of the history or of the mesh.
type Effect struct {
	Do Verb
	// Revision is what StoreRevision and EnforceRevision are about.
	Revision int
	// Record is what Write writes.
	Record Record
	// How is why a config is put in force, as the history shows it.
	How string
	// Confirmed is set for a config that is put in force for good.
	Confirmed bool
	// Whole is set where a pass that was carried out in part does not do.
	Whole bool
	// Anyway is set for what is done even if an effect before it failed.
	Anyway bool
}

// Verb is a kind of effect. Each can be repeated: the second time changes nothing.
type Verb int

// The effects.
const (
	// Write writes the record of the trial, Erase removes it.
	Write Verb = iota
	Erase
	// StoreChange makes a change the config in the file.
	StoreChange
	// StoreRevision makes a revision the config in the file.
	StoreRevision
	// RemoveFile removes the config in the file.
	RemoveFile
	// EnforceChange puts a change in force, EnforceFile what is in the file, EnforceRevision a
	// revision. What is put in force is kept in the history first.
	EnforceChange
	EnforceFile
	EnforceRevision
	// Confirm marks the newest revision as confirmed.
	Confirm
	// TakeDown takes the mesh down, NoteDown notes that a command did that.
	TakeDown
	NoteDown
)
