package agent

import (
	"context"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/resource"
)

// eventsDelay is how long events are collected before they are written.
const eventsDelay = 10 * time.Second

// restoreEvents takes up the events of the process before.
func (d *deps) restoreEvents() {
	events, err := d.dir.Events()
	if err != nil {
		d.log.Warn("events of before unreadable", "error", err)
	}
	d.engine.RestoreEvents(events)
}

// saveEvents writes events down for the next process: some time after they happened, and at the
// end.
func (d *deps) saveEvents(ctx context.Context) {
	_, watcher := d.store.Watch(resource.EventType)
	defer watcher.Close()
	for {
		if _, err := watcher.Next(ctx); err == nil {
			select {
			case <-ctx.Done():
			case <-time.After(eventsDelay):
			}
		}
		if err := d.dir.SaveEvents(d.lastEvents()); err != nil {
			d.log.Error("events not written", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// lastEvents returns the events, the oldest first.
func (d *deps) lastEvents() []resource.Event {
	var events []resource.Event
	for _, r := range d.store.List(resource.EventType) {
		if e, is := r.Spec.(resource.Event); is {
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(a, b resource.Event) int { return a.Last.Compare(b.Last) })
	return events
}

// record records an event of the config.
func (m *configManager) record(ctx context.Context, severity resource.Severity, reason event.Reason, message string) {
	if m.recordEvent != nil {
		m.recordEvent(ctx, severity, reason, message)
	}
}
