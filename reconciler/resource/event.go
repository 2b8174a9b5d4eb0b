package resource

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Severity is how much an event matters.
type Severity string

// The severities.
const (
	Normal  Severity = "Normal"
	Warning Severity = "Warning"
)

// Event is the spec of EventType: something that happened.
type Event struct {
	Severity Severity `json:"severity"`
	// Reason is a word for programs, such as "Repaired"; Object is what it happened to.
	Reason  string `json:"reason"`
	Object  string `json:"object"`
	Message string `json:"message"`
	// Count is how often it happened, from First to Last.
	Count int       `json:"count"`
	First time.Time `json:"firstTimestamp"`
	Last  time.Time `json:"lastTimestamp"`
}

// maxEvents is how many events are kept: the oldest go.
const maxEvents = 200

// Recorder are what has happened. What happens again is counted, not repeated.
// They are for one goroutine.
type Recorder struct {
	store *Store
	last  int
	byID  map[string]Event
}

// NewRecorder makes an empty list of events, which is shown in store.
func NewRecorder(store *Store) *Recorder { return &Recorder{store: store, byID: map[string]Event{}} }

// Add notes that something happened.
func (e *Recorder) Record(now time.Time, severity Severity, reason, object, message string) {
	id := ""
	for known, r := range e.byID {
		if r.Severity == severity && r.Reason == reason && r.Object == object && r.Message == message {
			id = known
		}
	}
	record := Event{Severity: severity, Reason: reason, Object: object, Message: message, Count: 1, First: now, Last: now}
	if id != "" {
		record.Count, record.First = e.byID[id].Count+1, e.byID[id].First
	} else {
		e.last++
		id = strconv.Itoa(e.last)
	}
	e.byID[id] = record
	if len(e.byID) > maxEvents {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(e.byID)), func(a, b string) int {
			return cmp.Or(e.byID[a].Last.Compare(e.byID[b].Last), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		delete(e.byID, oldest)
	}
	specs := make(map[string]any, len(e.byID))
	for id, r := range e.byID {
		specs[id] = r
	}
	e.store.Replace(now, EventType, specs)
}
