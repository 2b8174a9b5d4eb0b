// Package logring keeps the records of a log that were written last, in memory.
package logring

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

const (
	// MaxRecords is how many records are kept.
	MaxRecords = 2000
	// maxBytes bounds what they need, and maxLine one of them.
	maxBytes = 512 << 10
	maxLine  = 8 << 10
)

// Ring keeps the last records as lines of JSON, 2,000 of them and at most 512 KiB. The zero value is
// empty. It is safe for concurrent use.
type Ring struct {
	mu sync.Mutex
	// lines are the records from first on, the oldest first; those before are forgotten.
	lines []string
	first int
	bytes int
}

// With returns a logger that logs what log does, and keeps it: at least what is of level Info.
func (r *Ring) With(log *slog.Logger) *slog.Logger {
	level := slog.LevelInfo
	if log.Enabled(context.Background(), slog.LevelDebug) {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewMultiHandler(log.Handler(), slog.NewJSONHandler(r, &slog.HandlerOptions{Level: level})))
}

// Write keeps a record. It is for the handler of With.
func (r *Ring) Write(record []byte) (int, error) {
	line := string(bytes.TrimSuffix(record, []byte("\n")))
	if len(line) > maxLine {
		return len(record), nil // cut, it would be no JSON
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.bytes += len(line)
	for len(r.lines)-r.first > MaxRecords || r.bytes > maxBytes {
		r.bytes -= len(r.lines[r.first])
		r.lines[r.first] = ""
		r.first++
	}
	if r.first > MaxRecords {
		r.lines = append([]string(nil), r.lines[r.first:]...)
		r.first = 0
	}
	return len(record), nil
}

// Lines returns the records, the oldest first.
func (r *Ring) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines[r.first:]...)
}
