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

func TestRestoredEventsAreCountedOn(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	events := make([]Event, maxEvents+1)
	for n := range events {
		events[n] = Event{Severity: Normal, Reason: "Filler", Object: strconv.Itoa(n), Count: 2, First: at(n), Last: at(n)}
	}
	store := &Store{}
	r := NewRecorder(store)
	r.Restore(events)
	r.Record(at(1000), Normal, "Filler", "200", "")
	list := store.List(EventType)
	if len(list) != maxEvents {
		t.Fatalf("%d events", len(list))
	}
	for _, x := range list {
		e := x.Spec.(Event)
		if e.Object == "0" {
			t.Error("the oldest of too many is there")
		}
		if e.Object == "200" && (e.Count != 3 || !e.First.Equal(at(200)) || !e.Last.Equal(at(1000))) {
			t.Errorf("the one that happened again is %+v", e)
		}
	}
}

// A thousand peers that come up at once change a thousand resources, and not each the others.
func TestEventChangesItsOwnResources(t *testing.T) {
	store := &Store{}
	r := NewRecorder(store)
	for n := range maxEvents {
		r.Record(time.Unix(int64(n), 0), Normal, "Filler", strconv.Itoa(n), "")
	}
	if n := testing.AllocsPerRun(1000, func() { r.Record(time.Unix(500, 0), Normal, "Filler", "7", "") }); n > 10 {
		t.Errorf("an event takes %v allocations beside %d others", n, maxEvents)
	}
}
