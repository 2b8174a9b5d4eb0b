package resource

import (
	"strconv"
	"testing"
	"time"
)

func TestEventsAreCountedAndBounded(t *testing.T) {
	store := &Store{}
	events := NewRecorder(store)
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for n := range 3 {
		events.Record(at(n), Warning, "Repaired", "rule", "again")
	}
	events.Record(at(4), Warning, "Repaired", "rule", "otherwise")
	list := store.List(EventType)
	first := list[0].Spec.(Event)
	if len(list) != 2 || first.Count != 3 || !first.First.Equal(at(0)) || !first.Last.Equal(at(2)) {
		t.Errorf("events are %+v", list)
	}
	for n := range maxEvents {
		events.Record(at(10+n), Normal, "Filler", strconv.Itoa(n), "")
	}
	list = store.List(EventType)
	if len(list) != maxEvents {
		t.Errorf("%d events are kept", len(list))
	}
	for _, r := range list {
		if r.ID == "1" || r.ID == "2" {
			t.Errorf("the oldest event is still there: %+v", r)
		}
	}
}
