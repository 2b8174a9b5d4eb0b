package logring

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestTheLastRecordsAreKept(t *testing.T) {
	var r Ring
	log := r.With(slog.New(slog.NewTextHandler(&strings.Builder{}, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("registry", "service")
	log.Debug("not kept")
	for i := range 3*MaxRecords + 7 {
		log.Info("peer up", "n", i)
	}
	lines := r.Lines()
	if len(lines) != MaxRecords {
		t.Fatalf("%d records are kept", len(lines))
	}
	for i, line := range lines {
		var record struct {
			Msg, Registry string
			N             int
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.N != 2*MaxRecords+7+i || record.Msg != "peer up" || record.Registry != "service" {
			t.Fatalf("record %d is %s: %v", i, line, err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var r Ring
	log := r.With(slog.New(slog.DiscardHandler))
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 400 {
				log.Info("long", "n", fmt.Sprint(i, n), "text", strings.Repeat("x", 6000))
			}
		})
	}
	group.Wait()
	log.Info("too long", "text", strings.Repeat("x", maxLine))
	total := 0
	for _, line := range r.Lines() {
		total += len(line)
	}
	if total > maxBytes || total < maxBytes-2*maxLine || cap(r.lines) > 3*MaxRecords {
		t.Errorf("%d bytes in %d slots are kept", total, cap(r.lines))
	}
}

func TestDebugIsKeptWhereItIsLogged(t *testing.T) {
	var r Ring
	r.With(slog.New(slog.NewTextHandler(&strings.Builder{}, &slog.HandlerOptions{Level: slog.LevelDebug}))).Debug("each try")
	if len(r.Lines()) != 1 {
		t.Errorf("%q is kept", r.Lines())
	}
}
