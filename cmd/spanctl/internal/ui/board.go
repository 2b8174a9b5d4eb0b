package ui

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
)

// maxEvents is how many events of a machine are kept, as an agent does.
const maxEvents = 200

// event is something that happened on a machine.
type event struct {
	ID      string `json:"id"`
	Time    string `json:"time"`
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	Message string `json:"message"`
	Count   int    `json:"count"`
	// at is the number of the change that brought it.
	at uint64
}

// known is what is known of a machine.
type known struct {
	id string
	// name is that of the machine in its mesh; "" until it is known.
	name string
	// health is the data of the last event of a stream that says how the machine is; healthAt is the
	// number of the change that brought it.
	health   []byte
	healthAt uint64
	// events are the last ones, the newest last. A series of them begins with resetAt.
	events  []event
	resetAt uint64
}

// board keeps what is known of all machines. Its methods may be called concurrently.
type board struct {
	mu       sync.Mutex
	machines []*known
	// at is the number of the last change.
	at uint64
	// watchers is how many streams look at the board.
	watchers int
	// changed is closed, and replaced, with each change.
	changed chan struct{}
}

func newBoard(ids []string) *board {
	b := &board{changed: make(chan struct{})}
	for _, id := range ids {
		b.machines = append(b.machines, &known{id: id})
	}
	return b
}

// change makes a change of what is known of a machine.
func (b *board) change(id string, do func(k *known, at uint64)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.machines {
		if k.id == id {
			b.at++
			do(k, b.at)
		}
	}
	b.wake()
}

func (b *board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// setHealth keeps the data that says how a machine is, and its name if it is known.
func (b *board) setHealth(id, name string, data []byte) {
	b.change(id, func(k *known, at uint64) {
		k.health, k.healthAt = data, at
		if name != "" {
			k.name = name
		}
	})
}

// addEvents adds events; with reset, what was there before is of another series.
func (b *board) addEvents(id string, reset bool, events []event) {
	b.change(id, func(k *known, at uint64) {
		if reset {
			k.events, k.resetAt = nil, at
		}
		for _, e := range events {
			k.events = slices.DeleteFunc(k.events, func(old event) bool { return old.ID == e.ID })
			e.at = at
			k.events = append(k.events, e)
		}
		k.events = k.events[max(0, len(k.events)-maxEvents):]
	})
}

// names returns the IDs of the machines with their names; a machine whose name is not known has its
// ID.
func (b *board) names() []machineName {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]machineName, len(b.machines))
	for i, k := range b.machines {
		out[i] = machineName{ID: k.id, Name: k.id}
		if k.name != "" {
			out[i].Name = k.name
		}
	}
	return out
}

// machineName is a machine of the session.
type machineName struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// update is an event of a stream.
type update struct {
	event string
	data  []byte
}

// since returns what has changed after the change with a number, the number of the last one, and what
// is closed with the next.
func (b *board) since(before uint64) (updates []update, at uint64, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.machines {
		if k.healthAt > before {
			updates = append(updates, update{"health", k.health})
		}
		if data := k.eventsSince(before); data != nil {
			updates = append(updates, update{"events", data})
		}
	}
	return updates, b.at, b.changed
}

// eventsSince returns the data about the events after a change; nil for none.
func (k *known) eventsSince(before uint64) []byte {
	fresh := []event{}
	for _, e := range k.events {
		if e.at > before {
			fresh = append(fresh, e)
		}
	}
	reset := k.resetAt > before
	if len(fresh) == 0 && !reset {
		return nil
	}
	data, err := json.Marshal(struct {
		Machine string  `json:"machine"`
		Events  []event `json:"events"`
		Reset   bool    `json:"reset"`
	}{k.id, fresh, reset})
	if err != nil {
		return nil // strings and numbers are always JSON
	}
	return data
}

// watch counts a stream that looks at the board until leave is called.
func (b *board) watch() (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers++
	b.wake()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers--
	}
}

// awaitWatched waits until a stream looks at the board.
func (b *board) awaitWatched(ctx context.Context) error {
	for {
		b.mu.Lock()
		watched, changed := b.watchers > 0, b.changed
		b.mu.Unlock()
		if watched {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
