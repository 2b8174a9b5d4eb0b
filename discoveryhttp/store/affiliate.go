package store

import (
	"cmp"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of sidero.discovery.server's Affiliate and WatchResponse.
const (
	fieldID         = 1
	fieldData       = 2
	fieldEndpoints  = 3
	fieldAffiliates = 1
	fieldDeleted    = 2
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
	// wire is the affiliate, encoded as a field of a WatchResponse.
	wire []byte
}

// NewUpdate returns the event of an affiliate that was created or changed.
func NewUpdate(a Affiliate) *Event { return &Event{Affiliate: a, wire: encodeField(a)} }

// NewDeletion returns the event of an affiliate that was deleted.
func NewDeletion(id string) *Event {
	a := NewAffiliate(id, nil, nil)
	return &Event{Affiliate: a, Deleted: true, wire: encodeField(a)}
}

// fieldOverhead is enough bytes for the tag and the length of a field.
const fieldOverhead = 8

func encodeField(a Affiliate) []byte {
	return appendAffiliate(make([]byte, 0, len(a.wire)+fieldOverhead), a)
}

func appendAffiliate(b []byte, a Affiliate) []byte {
	b = protowire.AppendTag(b, fieldAffiliates, protowire.BytesType)
	return protowire.AppendBytes(b, a.wire)
}

// EncodeEvents returns events as an encoded WatchResponse. Either all events are
// deletions or none is. The encoding of a single update is shared by all watchers;
// the caller must not change it.
func EncodeEvents(events []*Event) []byte {
	if len(events) == 1 && !events[0].Deleted {
		return events[0].wire
	}
	var b []byte
	for _, e := range events {
		b = append(b, e.wire...)
	}
	if len(events) > 0 && events[0].Deleted {
		b = protowire.AppendTag(b, fieldDeleted, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// Snapshot is all affiliates of a cluster at one moment. It is immutable.
type Snapshot struct {
	// Affiliates are sorted by ID.
	Affiliates []Affiliate

	once sync.Once
	wire []byte
}

// NewSnapshot returns a snapshot of affiliates. It keeps the slice and sorts it.
func NewSnapshot(affiliates []Affiliate) *Snapshot {
	slices.SortFunc(affiliates, func(a, b Affiliate) int { return cmp.Compare(a.ID, b.ID) })
	return &Snapshot{Affiliates: affiliates}
}

// Wire returns the snapshot as an encoded ListResponse, which is also the first
// WatchResponse of a watch. It is encoded once; the caller must not change it.
func (s *Snapshot) Wire() []byte {
	s.once.Do(func() { s.wire = encodeAffiliates(s.Affiliates) })
	return s.wire
}

func encodeAffiliates(affiliates []Affiliate) []byte {
	size := 0
	for _, a := range affiliates {
		size += protowire.SizeTag(fieldAffiliates) + protowire.SizeBytes(len(a.wire))
	}
	b := make([]byte, 0, size)
	for _, a := range affiliates {
		b = appendAffiliate(b, a)
	}
	return b
}
