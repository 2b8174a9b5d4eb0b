package server

import (
	"slices"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// changesShare is the part of a snapshot's size that its changes may take, before the next
	// reader gets a new one.
	changesShare = 2
	// changeOverhead is about what a change takes besides its encoding, in bytes.
	changeOverhead = 128
)

// base is a snapshot in parts, and what has changed since. All of it is shared by those who
// read it: what a reader needs for itself does not grow with the changes.
type base struct {
	snapshot *store.Snapshot
	size     int
	// parts are the parts of the snapshot by their largest size, and shared is what is counted
	// for them.
	parts  map[int][]*part
	shared map[int]*shared
	// latest is the snapshot that the steps lead to.
	latest *store.Snapshot
	steps  []step
	// changes is what all steps have taken, in bytes, also those that others have replaced.
	changes int
}

// shared is what the readers of a base have in common.
type shared struct {
	// size is the most that it takes, in bytes.
	size int
}

// step is changes between two snapshots.
type step struct {
	events []*store.Event
	parts  []*part
}

func newBase(s *store.Snapshot) *base {
	return &base{snapshot: s, size: s.Size(), parts: map[int][]*part{}, shared: map[int]*shared{}, latest: s}
}

// follow adds the changes up to a snapshot, which may also be an older one. It reports false
// if that would be too many. Steps that are no larger than a new one become one with it, so
// that a reader gets few messages.
func (b *base) follow(s *store.Snapshot) bool {
	if s == b.latest {
		return true
	}
	events := s.Since(b.latest)
	if len(events) == 0 {
		b.latest = s
		return true
	}
	kept := len(b.steps)
	for kept > 0 && len(b.steps[kept-1].events) <= len(events) {
		kept--
		events = latest(slices.Concat(b.steps[kept].events, events))
	}
	changes := b.changes + takenBy(events)
	if changes > b.size/changesShare {
		return false
	}
	parts := split(events, eventsPart)
	for _, p := range parts {
		p.message()
		// What was encoded pins no affiliates that have changed since.
		p.events = nil
	}
	b.steps = append(b.steps[:kept], step{events, parts})
	b.latest, b.changes = s, changes
	return true
}

// begin returns the parts of the latest snapshot, and what is shared of them.
func (b *base) begin(limit int) ([]*part, *shared) {
	if b.parts[limit] == nil {
		b.parts[limit] = snapshotParts(b.snapshot, limit)
		b.shared[limit] = &shared{b.size + b.size/changesShare}
	}
	parts := slices.Clone(b.parts[limit])
	for _, s := range b.steps {
		parts = append(parts, s.parts...)
	}
	return parts, b.shared[limit]
}

// takenBy returns about what events and their encoding take, in bytes.
func takenBy(events []*store.Event) int {
	size := 0
	for _, e := range events {
		size += e.Size() + changeOverhead
	}
	return size
}
