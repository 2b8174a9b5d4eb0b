package soak

import "fmt"

// entry is what is known of an affiliate: what its writer asked for, and what the server
// acknowledged. Writes have numbers that grow.
type entry struct {
	// acknowledged is the number of the last write that the server acknowledged; 0 for none.
	acknowledged uint64
	// absent is set if that was a deletion, or if there was none.
	absent bool
	// tried is the number of the last write.
	tried uint64
	// deletion is set if a deletion was tried since the last acknowledged write.
	deletion bool
}

func newEntry() *entry { return &entry{absent: true} }

// try notes that a write is on its way, and returns its number.
func (e *entry) try(isDeletion bool) uint64 {
	e.tried++
	e.deletion = e.deletion || isDeletion
	return e.tried
}

// acknowledge notes that the server has acknowledged the last write.
func (e *entry) acknowledge(isDeletion bool) {
	e.acknowledged, e.absent, e.deletion = e.tried, isDeletion, false
}

// check returns an error if the server cannot be right: it has the affiliate with the write of
// a number, or it does not have the affiliate and the number is 0. A write that was not
// acknowledged may have been done.
func (e *entry) check(number uint64) error {
	switch {
	case number == 0 && (e.absent || e.deletion):
		return nil
	case number == 0:
		return fmt.Errorf("write %d was acknowledged, and the affiliate is missing", e.acknowledged)
	case number > e.tried:
		return fmt.Errorf("write %d was never made", number)
	case number < e.acknowledged:
		return fmt.Errorf("write %d was acknowledged, and the affiliate has write %d", e.acknowledged, number)
	case number == e.acknowledged && e.absent:
		return fmt.Errorf("deletion %d was acknowledged, and the affiliate exists", number)
	}
	return nil
}
