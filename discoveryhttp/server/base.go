package server

import (
	"slices"
	"unsafe"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// changesShare is the part of a snapshot's size that its changes may take, before the next
	// reader gets a new one.
	changesShare = 2
	// changeOverhead is about what a change takes besides its encoding, in bytes.
	changeOverhead = 128
)

// base is a snapshot in messages, and what has changed since. All of it is shared by those who
// read it: what a reader needs for itself does not grow with the changes. The base holds the
// messages, and not the snapshot that they were made of.
type base struct {
	account *account
	// size is that of the snapshot, in bytes.
	size     int
	messages []*message
	// latest is the snapshot that the steps lead to, and reserved what it is counted with.
	latest   *store.Snapshot
	reserved int64
	steps    []step
	// changes is what all steps have taken, in bytes, also those that others have replaced.
	changes int
}

// step is changes between two snapshots.
type step struct {
	// ids are the affiliates that changed.
	ids      []string
	messages []*message
}

// kept returns what it takes to keep a snapshot that the store may have replaced, in bytes.
func kept(s *store.Snapshot) int64 {
	return int64(s.Size()) + int64(len(s.Affiliates))*int64(unsafe.Sizeof(store.Affiliate{}))
}

// newBase encodes a snapshot, for which the caller has reserved baseCost.
func newBase(a *account, s *store.Snapshot, limit int) *base {
	return &base{account: a, size: s.Size(), messages: encodeSnapshot(a, s, limit), latest: s, reserved: kept(s)}
}

// baseCost returns what to reserve before a base is made.
func baseCost(s *store.Snapshot, limit int) int64 { return kept(s) + reservedForSnapshot(s, limit) }

// release lets go of all.
func (b *base) release() {
	releaseAll(b.messages)
	for _, s := range b.steps {
		releaseAll(s.messages)
	}
	b.account.settle(-b.reserved)
}

// follow adds the changes up to a snapshot, which may also be an older one. It reports false
// if that would be too many, or there is no room. Steps that are no larger than a new one become
// one with it, so that a reader gets few messages.
func (b *base) follow(s *store.Snapshot) bool {
	if s == b.latest {
		return true
	}
	events := s.Since(b.latest)
	first := len(b.steps)
	var ids []string
	for _, e := range events {
		ids = append(ids, e.Affiliate.ID)
	}
	for first > 0 && len(b.steps[first-1].ids) <= len(ids) && len(ids) > 0 {
		first--
		ids = append(ids, b.steps[first].ids...)
	}
	if first < len(b.steps) {
		slices.Sort(ids)
		ids = slices.Compact(ids)
		events = s.Events(ids)
	}
	size := 0
	for _, e := range events {
		size += e.Size()
	}
	changes := b.changes + size + len(events)*changeOverhead
	if changes > b.size/changesShare {
		return false
	}
	grown := kept(s) + int64(changes) - b.reserved
	if len(events) > 0 {
		parts := reservedForParts(size, eventsPart)
		if !b.account.reserve(parts+max(grown, 0), false) {
			return false
		}
		b.account.settle(min(grown, 0))
		for _, old := range b.steps[first:] {
			releaseAll(old.messages)
		}
		b.steps = append(b.steps[:first], step{ids, encodeEvents(b.account, events, eventsPart, parts)})
	} else {
		b.account.settle(grown)
	}
	b.reserved += grown
	b.latest, b.changes = s, changes
	return true
}

// hold returns the messages of the latest snapshot, held for a reader.
func (b *base) hold() []*message {
	messages := slices.Clone(b.messages)
	for _, s := range b.steps {
		messages = append(messages, s.messages...)
	}
	for _, m := range messages {
		m.refs.Add(1)
	}
	return messages
}
