package logrepeat

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// record logs a record at a time, as a logger that is made of the handler would.
func record(t *testing.T, h slog.Handler, at time.Time, level slog.Level, message string, args ...any) {
	t.Helper()
	r := slog.NewRecord(at, level, message, 0)
	r.Add(args...)
	if err := h.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

func TestRepeatsAreCounted(t *testing.T) {
	var out strings.Builder
	h := Limit(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))).Handler()
	start := time.Unix(1_700_000_000, 0)
	for i := range 600 { // one in 100 ms, for a minute
		at := start.Add(time.Duration(i) * 100 * time.Millisecond)
		record(t, h, at, slog.LevelWarn, "peer refused", "peer", "db1", "error", fmt.Sprint("try ", i))
		record(t, h, at, slog.LevelDebug, "try", "n", i)
	}
	record(t, h, start.Add(time.Minute), slog.LevelWarn, "peer refused", "peer", "db2")
	record(t, h.WithAttrs([]slog.Attr{slog.String("registry", "service")}), start.Add(time.Minute), slog.LevelWarn, "peer refused", "peer", "db1")
	record(t, h, start.Add(time.Minute), slog.LevelError, "peer refused", "peer", "db1")
	record(t, h, start.Add(time.Hour), slog.LevelWarn, "peer refused", "peer", "db1")
	record(t, h, start.Add(time.Hour), slog.LevelWarn, "peer refused", "peer", "db1")

	var got []string
	debug := 0
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "level=DEBUG") {
			debug++
			continue
		}
		_, repeated, _ := strings.Cut(strings.TrimSpace(line), "repeated=")
		got = append(got, repeated)
	}
	// Five at once; those at 10, 20, … 50 s; three of other subjects and levels; two after a rest.
	want := []string{"", "", "", "", "", "95", "99", "99", "99", "99", "", "", "", "99", ""}
	if fmt.Sprint(got) != fmt.Sprint(want) || debug != 600 {
		t.Errorf("%d of level debug, repeated %q; want %q", debug, got, want)
	}
}

func TestWhatIsCountedIsBounded(t *testing.T) {
	h := Limit(slog.New(slog.DiscardHandler)).Handler().(*handler)
	start := time.Unix(1_700_000_000, 0)
	for i := range 3 * maxKeys {
		record(t, h, start.Add(time.Duration(i)*time.Millisecond), slog.LevelInfo, "up", "peer", fmt.Sprint(i))
		if len(h.counts.keys) > maxKeys {
			t.Fatalf("%d keys are counted", len(h.counts.keys))
		}
	}
}
