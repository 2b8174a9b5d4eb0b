package resource

import (
	"container/list"
	"strconv"
	"time"
)

// EventType has the events that were recorded last.
var EventType = &Type{
	Name:      "Events",
	Namespace: "runtime",
	Aliases:   []string{"events", "event", "ev"},
	columns: []column{
		shows("lastTimestamp", ageOf("LAST SEEN", func(e Event) time.Time { return e.Last })),
		columnOf("COUNT", func(e Event) string { return strconv.Itoa(e.Count) }),
		columnOf("SEVERITY", func(e Event) string { return string(e.Severity) }),
		columnOf("REASON", func(e Event) string { return e.Reason }),
		columnOf("OBJECT", func(e Event) string { return e.Object }),
		columnOf("MESSAGE", func(e Event) string { return e.Message }),
		shows("firstTimestamp", wide(ageOf("FIRST SEEN", func(e Event) time.Time { return e.First }))),
	},
	sample: Event{},
}

// Severity is how much an event matters.
type Severity string

// The severities.
const (
	Normal  Severity = "Normal"
	Warning Severity = "Warning"
)

// Event is the spec of EventType: something that happened.
type Event struct {
	// Severity is "Normal" or "Warning".
	Severity Severity `json:"severity"`
	// Reason is one word for programs, such as "Repaired".
	Reason string `json:"reason"`
	// Object is what the event is about.
	Object string `json:"object"`
	// Message is a sentence for operators.
	Message string `json:"message"`
	// Count is how often it happened.
	Count int `json:"count"`
	// First is when it happened first.
	First time.Time `json:"firstTimestamp"`
	// Last is when it happened last.
	Last time.Time `json:"lastTimestamp"`
}

// maxEvents is how many events are kept. The oldest are dropped.
const maxEvents = 200

// Recorder records events in a store. An event that happens again is counted, not
// repeated. It is for one goroutine.
type Recorder struct {
	// Recorded, if set, is called with the reason of each event.
	Recorded func(reason string)

	store *Store
	last  int
	// byAge has the *recorded, and the one that happened last at its end.
	byAge *list.List
	// found has the elements of byAge by what makes two events the same.
	found map[Event]*list.Element
}

// recorded is an event and its ID.
type recorded struct {
	id    string
	event Event
}

// NewRecorder returns a recorder without events.
func NewRecorder(store *Store) *Recorder {
	return &Recorder{store: store, byAge: list.New(), found: map[Event]*list.Element{}}
}

// same returns what two events that are counted as one have in common.
func (e Event) same() Event {
	return Event{Severity: e.Severity, Reason: e.Reason, Object: e.Object, Message: e.Message}
}

// Record records an event.
func (r *Recorder) Record(now time.Time, severity Severity, reason, object, message string) {
	if r.Recorded != nil {
		r.Recorded(reason)
	}
	r.put(Event{Severity: severity, Reason: reason, Object: object, Message: message, Count: 1, First: now, Last: now})
}

// Restore records the events of an earlier process, the oldest first, before all others.
func (r *Recorder) Restore(events []Event) {
	for _, e := range events[max(0, len(events)-maxEvents):] {
		r.put(e)
	}
}

func (r *Recorder) put(event Event) {
	element, known := r.found[event.same()]
	if known {
		before := element.Value.(*recorded).event
		event.Count, event.First = before.Count+event.Count, before.First
		element.Value.(*recorded).event = event
		r.byAge.MoveToBack(element)
	} else {
		r.last++
		element = r.byAge.PushBack(&recorded{strconv.Itoa(r.last), event})
		r.found[event.same()] = element
	}
	r.store.Put(event.Last, EventType, element.Value.(*recorded).id, event)
	if r.byAge.Len() > maxEvents {
		oldest := r.byAge.Remove(r.byAge.Front()).(*recorded)
		delete(r.found, oldest.event.same())
		r.store.Delete(EventType, oldest.id)
	}
}
