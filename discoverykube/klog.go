package discoverykube

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

// routeKlog sends what client-go logs to the first log that it is called with, at debug
// level. client-go's logger, klog, is one for the process, and writes to stderr otherwise.
func routeKlog(log *slog.Logger) {
	setKlog.Do(func() { klog.SetSlogLogger(slog.New(debugHandler{log.Handler()})) })
}

var setKlog sync.Once

// debugHandler logs all at debug level, and drops the verbose levels of klog: the highest
// have requests and answers.
type debugHandler struct{ next slog.Handler }

func (h debugHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo && h.next.Enabled(ctx, slog.LevelDebug)
}

func (h debugHandler) Handle(ctx context.Context, record slog.Record) error {
	record.Level = slog.LevelDebug
	return h.next.Handle(ctx, record)
}

func (h debugHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return debugHandler{h.next.WithAttrs(attrs)}
}

func (h debugHandler) WithGroup(name string) slog.Handler {
	return debugHandler{h.next.WithGroup(name)}
}
