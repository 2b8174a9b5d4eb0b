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

// Affiliate is one affiliate as it is sent. It never changes once made.
type Affiliate struct {
	ID string
	// wire is the encoding of the message: the ID, the data if there is any, the
	// endpoints.
	wire []byte
}

func newAffiliate(id string, data []byte, endpoints [][]byte) Affiliate {
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

// Wire is the encoding of the affiliate, to be read only.
func (a Affiliate) Wire() []byte { return a.wire }

// Parts are the data, nil if there is none, and the endpoints, to be read only.
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

// Event is a change of an affiliate.
type Event struct {
	// Affiliate is as it is now; of one that was deleted only the ID is left.
	Affiliate Affiliate
	Deleted   bool
	// wire is the affiliate as a field of a WatchResponse.
	wire []byte
}

func newEvent(a Affiliate, deleted bool) *Event {
	if deleted {
		a = newAffiliate(a.ID, nil, nil)
	}
	return &Event{Affiliate: a, Deleted: deleted, wire: appendAffiliate(make([]byte, 0, len(a.wire)+8), a)}
}

func appendAffiliate(b []byte, a Affiliate) []byte {
	b = protowire.AppendTag(b, fieldAffiliates, protowire.BytesType)
	return protowire.AppendBytes(b, a.wire)
}

// EncodeEvents is the encoding of a WatchResponse with events that are all
// deletions or all not. Of a single event it is shared by all who ask.
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

// Snapshot is all affiliates of a cluster at one moment. It never changes.
type Snapshot struct {
	// Affiliates are in the order of their IDs.
	Affiliates []Affiliate

	once sync.Once
	wire []byte
}

// newSnapshot sorts affiliates and takes them over.
func newSnapshot(affiliates []Affiliate) *Snapshot {
	slices.SortFunc(affiliates, func(a, b Affiliate) int { return cmp.Compare(a.ID, b.ID) })
	return &Snapshot{Affiliates: affiliates}
}

// Wire is the encoding of a ListResponse, and of the WatchResponse that begins a
// watch, to be read only. It is made once, for all who ask.
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
