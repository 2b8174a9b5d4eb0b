// Package logrepeat keeps a log readable while one thing goes wrong again and again.
package logrepeat

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// burst is how many records of one message and subject are logged as they come.
	burst = 5
	// interval is the time from one of them to the next thereafter.
	interval = 10 * time.Second
	// maxKeys bounds the messages and subjects that are counted at a time.
	maxKeys = 4096
)

// subjects are the attributes that say what a record is about. Others, such as "error" and
// "retry_in", may differ from one try to the next.
var subjects = map[string]bool{"address": true, "affiliate": true, "change": true, "code": true,
	"endpoint": true, "file": true, "key": true, "limit": true, "link": true, "node": true, "path": true, "peer": true,
	"registry": true, "state": true, "subject": true}

// Limit returns a logger that logs what log does, but of the records with one level, message and
// subject the first five, then one in 10 seconds, whose attribute "repeated" is the number of
// those left out before it. Records of level Debug are never left out.
func Limit(log *slog.Logger) *slog.Logger {
	return slog.New(&handler{next: log.Handler(), counts: &counts{keys: map[string]*count{}}})
}

type handler struct {
	next   slog.Handler
	counts *counts
	// about has the subjects among the attributes that all records have.
	about string
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{next: h.next.WithGroup(name), counts: h.counts, about: h.about + name + "\x00"}
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var about strings.Builder
	for _, a := range attrs {
		writeSubject(&about, a)
	}
	return &handler{next: h.next.WithAttrs(attrs), counts: h.counts, about: h.about + about.String()}
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.next.Handle(ctx, r)
	}
	var key strings.Builder
	key.WriteString(r.Level.String())
	key.WriteByte(0)
	key.WriteString(r.Message)
	key.WriteByte(0)
	key.WriteString(h.about)
	r.Attrs(func(a slog.Attr) bool {
		writeSubject(&key, a)
		return true
	})
	repeated, ok := h.counts.take(r.Time, key.String())
	if !ok {
		return nil
	}
	if repeated > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", repeated))
	}
	return h.next.Handle(ctx, r)
}

func writeSubject(b *strings.Builder, a slog.Attr) {
	if subjects[a.Key] {
		b.WriteString(a.Key)
		b.WriteByte('=')
		b.WriteString(a.Value.String())
		b.WriteByte(0)
	}
}

// counts are the records of late, by level, message and subject.
type counts struct {
	mu   sync.Mutex
	keys map[string]*count
}

type count struct {
	limiter *rate.Limiter
	left    int // how many were left out since the last one that was logged
}

// take reports whether a record with a key may be logged now, and how many were not before it.
func (c *counts) take(now time.Time, key string) (repeated int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[key]
	if k == nil {
		if len(c.keys) >= maxKeys {
			c.forget(now)
		}
		k = &count{limiter: rate.NewLimiter(rate.Every(interval), burst)}
		c.keys[key] = k
	}
	if !k.limiter.AllowN(now, 1) {
		k.left++
		return 0, false
	}
	repeated, k.left = k.left, 0
	return repeated, true
}

// forget drops the keys of which nothing is left out and that are as good as new; all, if those
// are none.
func (c *counts) forget(now time.Time) {
	for key, k := range c.keys {
		if k.left == 0 && k.limiter.TokensAt(now) >= burst {
			delete(c.keys, key)
		}
	}
	if len(c.keys) >= maxKeys {
		clear(c.keys)
	}
}
