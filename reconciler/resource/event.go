package resource

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
)

// EventType has the events that were recorded last.
var EventType = &Type{
	Name:      "Events",
	Namespace: "runtime",
	Aliases:   []string{"events", "event", "ev"},
	columns: []column{
		ageOf("LAST SEEN", func(e Event) time.Time { return e.Last }),
		columnOf("COUNT", func(e Event) string { return strconv.Itoa(e.Count) }),
		columnOf("SEVERITY", func(e Event) string { return string(e.Severity) }),
		columnOf("REASON", func(e Event) string { return e.Reason }),
		columnOf("OBJECT", func(e Event) string { return e.Object }),
		columnOf("MESSAGE", func(e Event) string { return e.Message }),
		wide(ageOf("FIRST SEEN", func(e Event) time.Time { return e.First })),
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
	store *Store
	last  int
	byID  map[string]Event
}

// NewRecorder returns a recorder without events.
func NewRecorder(store *Store) *Recorder { return &Recorder{store: store, byID: map[string]Event{}} }

// Record records an event.
func (r *Recorder) Record(now time.Time, severity Severity, reason, object, message string) {
	id := ""
	for known, e := range r.byID {
		if e.Severity == severity && e.Reason == reason && e.Object == object && e.Message == message {
			id = known
		}
	}
	event := Event{Severity: severity, Reason: reason, Object: object, Message: message, Count: 1, First: now, Last: now}
	if id != "" {
		event.Count, event.First = r.byID[id].Count+1, r.byID[id].First
	} else {
		r.last++
		id = strconv.Itoa(r.last)
	}
	r.byID[id] = event
	if len(r.byID) > maxEvents {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(r.byID)), func(a, b string) int {
			return cmp.Or(r.byID[a].Last.Compare(r.byID[b].Last), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		delete(r.byID, oldest)
	}
	specs := make(map[string]any, len(r.byID))
	for id, e := range r.byID {
		specs[id] = e
	}
	r.store.Replace(now, EventType, specs)
}
