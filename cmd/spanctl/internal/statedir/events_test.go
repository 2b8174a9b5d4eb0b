package statedir

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/resource"
)

func TestEventsAreKept(t *testing.T) {
	d := At(t.TempDir())
	if err := d.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Unlock() })
	if events, err := d.Events(); err != nil || len(events) != 0 {
		t.Fatalf("at first: %v, %v", events, err)
	}
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	want := resource.Event{Severity: resource.Warning, Reason: "Repaired", Object: "rule", Message: "m", Count: 2, First: at, Last: at.Add(time.Minute)}
	if err := d.SaveEvents([]resource.Event{want}); err != nil {
		t.Fatal(err)
	}
	if events, err := d.Events(); err != nil || len(events) != 1 || events[0] != want {
		t.Errorf("got %+v, %v", events, err)
	}
	if info, err := os.Stat(filepath.Join(d.path, eventsFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}
