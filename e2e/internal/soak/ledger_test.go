package soak

import "testing"

func TestLedger(t *testing.T) {
	t.Parallel()
	const update, deletion = false, true
	acknowledged := func(writes ...bool) *entry {
		e := newEntry()
		for _, w := range writes {
			e.try(w)
			e.acknowledge(w)
		}
		return e
	}
	pending := func(e *entry, writes ...bool) *entry {
		for _, w := range writes {
			e.try(w)
		}
		return e
	}
	for _, c := range []struct {
		name  string
		entry *entry
		// number is that of the write that the server has.
		number uint64
		right  bool
	}{
		{"nothing was written", newEntry(), 0, true},
		{"a write that nobody made", newEntry(), 1, false},
		{"an acknowledged write", acknowledged(update), 1, true},
		{"an acknowledged write that is lost", acknowledged(update), 0, false},
		{"an older write", acknowledged(update, update), 1, false},
		{"an acknowledged deletion", acknowledged(update, deletion), 0, true},
		{"a deleted affiliate that is back", acknowledged(update, deletion), 1, false},
		{"a write that was not acknowledged is done", pending(acknowledged(update), update), 2, true},
		{"a write that was not acknowledged is not done", pending(acknowledged(update), update), 1, true},
		{"a deletion that was not acknowledged is done", pending(acknowledged(update), deletion), 0, true},
		{"an update after a deletion, both unacknowledged", pending(acknowledged(update), deletion, update), 3, true},
		{"an update that was not acknowledged, and nothing", pending(acknowledged(update), update), 0, false},
		{"an update that was acknowledged after a deletion that was not", func() *entry {
			e := pending(acknowledged(update), deletion, update)
			e.acknowledge(update)
			return e
		}(), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := c.entry.check(c.number); (err == nil) != c.right {
				t.Errorf("check(%d) = %v, want it right: %t", c.number, err, c.right)
			}
		})
	}
}
