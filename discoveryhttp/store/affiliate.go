package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of sidero.discovery.server's Affiliate and WatchResponse.
const (
	fieldID         = 1
	fieldData       = 2
	fieldEndpoints  = 3
	fieldAffiliates = 1
	fieldDeleted    = 2
	fieldMore       = 18001
)

// Affiliate is one affiliate in its wire encoding. It is immutable.
type Affiliate struct {
	ID string
	// wire is the encoded message: the ID, the data if any, and the endpoints.
	wire []byte
}

// NewAffiliate encodes an affiliate. Nil data means that it has none. It copies
// data and endpoints.
func NewAffiliate(id string, data []byte, endpoints [][]byte) Affiliate {
	size := protowire.SizeTag(fieldID) + protowire.SizeBytes(len(id))
	if data != nil {
		size += protowire.SizeTag(fieldData) + protowire.SizeBytes(len(data))
	}
	for _, e := range endpoints {
		size += protowire.SizeTag(fieldEndpoints) + protowire.SizeBytes(len(e))
	}
	wire := make([]byte, 0, size)
	wire = protowire.AppendTag(wire, fieldID, protowire.BytesType)
	wire = protowire.AppendString(wire, id)
	if data != nil {
		wire = protowire.AppendTag(wire, fieldData, protowire.BytesType)
		wire = protowire.AppendBytes(wire, data)
	}
	for _, e := range endpoints {
		wire = protowire.AppendTag(wire, fieldEndpoints, protowire.BytesType)
		wire = protowire.AppendBytes(wire, e)
	}
	return Affiliate{ID: id, wire: wire}
}

// Wire returns the encoded Affiliate message. The caller must not change it.
func (a Affiliate) Wire() []byte { return a.wire }

// Parts returns the data, nil if there is none, and the endpoints. The caller must
// not change them.
func (a Affiliate) Parts() (data []byte, endpoints [][]byte) {
	for b := a.wire; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.BytesType {
			break
		}
		value, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			break
		}
		switch number {
		case fieldData:
			data = value[:len(value):len(value)]
		case fieldEndpoints:
			endpoints = append(endpoints, value)
		}
		b = b[n+m:]
	}
	return data, endpoints
}

// Event is the update or the deletion of one affiliate. It is immutable.
type Event struct {
	// Affiliate is the new state. A deleted one has only its ID.
	Affiliate Affiliate
	Deleted   bool
}

// NewUpdate returns the event of an affiliate that was created or changed.
func NewUpdate(a Affiliate) *Event { return &Event{Affiliate: a} }

// NewDeletion returns the event of an affiliate that was deleted.
func NewDeletion(id string) *Event {
	return &Event{Affiliate: NewAffiliate(id, nil, nil), Deleted: true}
}

// fieldSize returns the size of an affiliate as a field of a message, in bytes.
func fieldSize(a Affiliate) int {
	return protowire.SizeTag(fieldAffiliates) + protowire.SizeBytes(len(a.wire))
}

func appendAffiliate(b []byte, a Affiliate) []byte {
	b = protowire.AppendTag(b, fieldAffiliates, protowire.BytesType)
	return protowire.AppendBytes(b, a.wire)
}

func appendTrue(b []byte, field protowire.Number) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, 1)
}

// Size returns how many bytes the event adds to a message.
func (e *Event) Size() int { return fieldSize(e.Affiliate) }

// EncodeEvents returns events as an encoded WatchResponse. Either all events are
// deletions or none is.
func EncodeEvents(events []*Event) []byte {
	size := flagSize
	for _, e := range events {
		size += e.Size()
	}
	return AppendEvents(make([]byte, 0, size), events)
}

// AppendEvents appends the encoding of EncodeEvents to b.
func AppendEvents(b []byte, events []*Event) []byte {
	for _, e := range events {
		b = appendAffiliate(b, e.Affiliate)
	}
	if len(events) > 0 && events[0].Deleted {
		b = appendTrue(b, fieldDeleted)
	}
	return b
}

// flagSize is the size of the largest flag of a message, in bytes: the tag of fieldMore
// and its value.
const flagSize = 4

// Snapshot is all affiliates of a cluster at one moment. It is immutable and safe for
// concurrent use. It keeps no encoding of itself, so that whoever has that need not keep it.
type Snapshot struct {
	// Affiliates are sorted by ID.
	Affiliates []Affiliate
}

// NewSnapshot returns a snapshot of affiliates. It keeps the slice and sorts it.
func NewSnapshot(affiliates []Affiliate) *Snapshot {
	slices.SortFunc(affiliates, func(a, b Affiliate) int { return cmp.Compare(a.ID, b.ID) })
	return &Snapshot{Affiliates: affiliates}
}

// Size returns the size of Wire, in bytes, without encoding it.
func (s *Snapshot) Size() int {
	size := 0
	for _, a := range s.Affiliates {
		size += fieldSize(a)
	}
	return size
}

// Wire returns the snapshot as an encoded ListResponse.
func (s *Snapshot) Wire() []byte {
	wire := make([]byte, 0, s.Size())
	for _, a := range s.Affiliates {
		wire = appendAffiliate(wire, a)
	}
	return wire
}

// Messages returns the snapshot as encoded WatchResponses of at most limit bytes each, or of
// one affiliate that is larger. All but the last have the field more set. There is at least
// one.
func (s *Snapshot) Messages(limit int) [][]byte {
	if s.Size() <= limit {
		return [][]byte{s.Wire()}
	}
	return split(s.Affiliates, limit)
}

// split encodes affiliates in messages of at most limit bytes.
func split(affiliates []Affiliate, limit int) [][]byte {
	var messages [][]byte
	for len(affiliates) > 0 {
		n, size := 0, flagSize
		for n < len(affiliates) && (n == 0 || size+fieldSize(affiliates[n]) <= limit) {
			size += fieldSize(affiliates[n])
			n++
		}
		b := make([]byte, 0, size)
		for _, a := range affiliates[:n] {
			b = appendAffiliate(b, a)
		}
		affiliates = affiliates[n:]
		if len(affiliates) > 0 {
			b = appendTrue(b, fieldMore)
		}
		messages = append(messages, b)
	}
	return messages
}

// Since returns the events that make the snapshot of an earlier or later one.
func (s *Snapshot) Since(base *Snapshot) []*Event {
	var events []*Event
	old := base.Affiliates
	for _, a := range s.Affiliates {
		for len(old) > 0 && old[0].ID < a.ID {
			events, old = append(events, NewDeletion(old[0].ID)), old[1:]
		}
		if len(old) > 0 && old[0].ID == a.ID {
			known := old[0]
			old = old[1:]
			if bytes.Equal(known.wire, a.wire) {
				continue
			}
		}
		events = append(events, NewUpdate(a))
	}
	for _, a := range old {
		events = append(events, NewDeletion(a.ID))
	}
	return events
}

// Events returns the events of some affiliates, sorted by ID, as the snapshot has them: deletions
// of those that it does not have.
func (s *Snapshot) Events(ids []string) []*Event {
	events := make([]*Event, len(ids))
	for i, id := range ids {
		at, found := slices.BinarySearchFunc(s.Affiliates, id, func(a Affiliate, id string) int { return strings.Compare(a.ID, id) })
		if found {
			events[i] = NewUpdate(s.Affiliates[at])
		} else {
			events[i] = NewDeletion(id)
		}
	}
	return events
}
